"""Are students flatter than their teacher?  Ratios of a student's curvature to its teacher's, over seeds."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.sentences import cells, require

MEASURES = {
    "eigenvalues": "largest eigenvalue",
    "trace": "trace",
    "adaptive_sharpness": "adaptive sharpness",
    "pac_bayes_sharpness": "PAC-Bayes sharpness",
}


def relative(cube: xr.Dataset) -> xr.Dataset:
    r"""Return :math:`\log(q_{student} / q_{teacher})` of every measure of curvature q, paired in each run.

    Over ``member`` without the teacher and all other dims of the cube; NaN where a measure is not positive, since no
    ratio says then which of both is flatter.
    """
    require(cube, ["eigenvalues"], ["member"])
    known = {name: cube[name] for name in MEASURES if name in cube}
    known["eigenvalues"] = known["eigenvalues"].isel(eigenvalue=0, drop=True)
    logs = {name: xr.apply_ufunc(np.log, values.where(values > 0)) for name, values in known.items()}
    members = [name for name in cube["member"].values.tolist() if name != "teacher"]
    return xr.Dataset(
        {name: value.sel(member=members) - value.sel(member="teacher", drop=True) for name, value in logs.items()}
    )


def findings(cube: xr.Dataset) -> list[str]:
    """Say for every student and measure how many times its teacher's it is, with a 95 % t interval of the logarithm.

    Raises
    ------
    ValueError
        If the cube lacks eigenvalues over ``member`` (the teacher and its students) and ``seed``.
    """
    require(cube, ["eigenvalues"], ["member", "seed"])
    return [
        f"{where}: " + "; ".join(_sentence(MEASURES[str(name)], cell[name]) for name in cell.data_vars)
        for where, cell in cells(relative(cube), kept=["seed"])
    ]


def _sentence(measure: str, logs: xr.DataArray) -> str:
    found = t_interval(logs)
    count = int(found["count"])
    if count < 3:
        return f"{measure}: not decided, {count} seeds are done and a verdict needs at least 3"
    mean, low, high = (float(np.exp(found[name])) for name in ("mean", "low", "high"))
    side = "flatter" if high < 1 else "sharper" if low > 1 else "undecided"
    return f"{measure} {mean:.2f} ({low:.2f} to {high:.2f}) times the teacher's, {count} seeds: {side}"


def flatness_of_run(run: xr.Dataset) -> list[str]:
    """Say for every student of one run how many times its teacher's each measure of curvature is; it has no spread."""
    times = relative(run)
    return [
        f"student {name}: "
        + ", ".join(f"{MEASURES[str(one)]} {float(np.exp(times[one].sel(member=name))):.2f}" for one in times.data_vars)
        + " times the teacher's (one seed: no verdict)"
        for name in times["member"].values.tolist()
    ]
