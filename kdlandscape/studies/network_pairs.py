"""What a comparison of checkpoints found, in sentences: by pair of networks, and by network."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from kdlandscape.studies.sentences import require

ALIGNED = {"permuted": "with its units permuted", "rescaled": "also rescaled"}


def findings(cube: xr.Dataset) -> list[str]:
    """Say for every pair how alike the networks are and what lies between them, and how sharp each network is.

    Parameters
    ----------
    cube
        Of the study ``compare``, or one of its runs; several seeds repeat random draws alone, and are averaged.

    Returns
    -------
    list of str
        Agreement beside the bounds that the accuracies allow; barriers as they are, permuted, rescaled and at the
        calibrated temperature; sharpness and effective dimension; and what is not defined, with the reason.

    Raises
    ------
    ValueError
        If the cube has no pairs of networks.
    """
    require(cube, ["fidelity_note"], ["pair"])
    cube = _one(cube)
    said = []
    for pair in cube["pair"].values.tolist():
        part = cube.sel(pair=pair)
        for sentence in (*_fidelity(part), *_paths(part)):
            said.append(f"{pair}: {sentence}")
    said += [f"{name}: {sentence}" for name, sentence in _networks(cube)]
    return said


def _one(cube: xr.Dataset) -> xr.Dataset:
    """Return means over the seeds, which repeat random draws; texts are those of the first seed."""
    if "seed" not in cube.dims:
        return cube
    numbers = [name for name, x in cube.data_vars.items() if x.dtype.kind in "fiub" and "seed" in x.dims]
    means = {name: cube[name].mean("seed", keep_attrs=True) for name in numbers}
    return cube.isel(seed=0, drop=True).assign(means)


def _fidelity(part: xr.Dataset) -> Iterator[str]:
    teacher, student = part["pair"].item().split(" | ")
    if note := part["fidelity_note"].item():
        yield f"fidelity is not defined: {note}."
        return
    test = part.sel(split="test")
    words = f"they agree on {float(test['agreement']):.1%} of the test {_examples(part)}"
    if np.isfinite(float(test.get("agreement_min", np.nan))):
        low, high = float(test["agreement_min"]), float(test["agreement_max"])
        words += f", where their accuracies allow {low:.1%} to {high:.1%}"
    ways = [_number(test[f"kl_{way}"]) for way in ("teacher_student", "student_teacher")]
    words += f"; KL({teacher} ‖ {student}) is {ways[0]}, the other way {ways[1]}"
    beyond = float(test.get("excess_agreement", np.nan))
    if np.isfinite(beyond):
        words += f"; {teacher} agrees {abs(beyond):.1%} {'less' if beyond > 0 else 'more'} with an independent network"
    yield words + "."


def _examples(part: xr.Dataset) -> str:
    return "tokens" if "token" in str(part.attrs.get("positions", "")) else "examples"


def _paths(part: xr.Dataset) -> Iterator[str]:
    notes = part["path_note"]
    if note := notes.sel(alignment="as it is").item():
        yield f"no path, barrier or alignment is defined: {note}."
        return
    train = part.sel(split="train")
    raw = float(train["barrier"].sel(alignment="as it is"))
    words = f"the barrier of the training loss is {_number(train['barrier'].sel(alignment='as it is'))}"
    for alignment, how in ALIGNED.items():
        if not notes.sel(alignment=alignment).item():
            left = train["barrier"].sel(alignment=alignment)
            words += f", {_number(left)} {how}" + (f" ({1 - float(left) / raw:.0%} less)" if raw > 1e-3 else "")
    calibrated = train["calibrated_loss_barrier"].sel(alignment="as it is")
    yield f"{words}; at the calibrated temperature it is {_number(calibrated)} as it is."
    if np.isfinite(float(part["scale_share"])):
        share = float(part["scale_share"])
        yield f"scales and signs of units explain {share:.0%} of the squared distance that permutation leaves."
    for alignment, how in ALIGNED.items():
        if note := notes.sel(alignment=alignment).item():
            yield f"the path {how} is not defined: {note}."


def _networks(cube: xr.Dataset) -> Iterator[tuple[str, str]]:
    for name in cube["network"].values.tolist():
        one = cube.sel(network=name)
        test = one.sel(split="test")
        words = f"{int(one['num_parameters'])} parameters, test loss {_number(test['network_loss'])}"
        if "network_error" in one:
            words += f", error {float(test['network_error']):.1%}"
        words += f", calibrated temperature {float(test['network_temperature']):.2f}"
        if note := one["spectrum_note"].item():
            yield name, f"{words}. Its spectrum is not defined: {note}."
            continue
        middle = one["effective_dimension"].isel(z=one.sizes["z"] // 2)
        sem = float(one["effective_dimension_sem"].isel(z=one.sizes["z"] // 2))
        yield (
            name,
            f"{words}. Its largest eigenvalue is {_number(one['eigenvalues'].isel(eigenvalue=0))}, and the data "
            f"determine {float(middle):.1f} ± {sem:.1f} directions at z = {float(middle['z']):g} (standard error over "
            "draws).",
        )


def _number(value: xr.DataArray) -> str:
    unit = value.attrs.get("units", "1")
    return f"{float(value):.3g}" + ("" if unit == "1" else f" {unit}")
