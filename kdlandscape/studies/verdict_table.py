"""Verdicts on claims as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.studies.claims import Claim, runs_of, verdicts
from kdlandscape.studies.decisions import CONTRADICTED, NOT_TESTABLE, REPRODUCED, VERDICTS
from kdlandscape.studies.sentences import require

_LISTED = 8  # claims that the counts name


def format_verdicts(table: xr.Dataset) -> str:
    """Format verdicts, or a cube of them, as text: two lines a claim, and which rows of the paper are decided.

    A cube over ``seeds_from`` holds whole runs of the studies, each with other seeds: the first is told, with the
    verdicts of the others where they differ.
    """
    if "level" in table.dims:
        table = table.isel(level=0)
    first, *others = runs_of(table)
    return _format(first, others)


def _format(table: xr.Dataset, others: Sequence[xr.Dataset]) -> str:
    lines = []
    for i in range(table.sizes["claim"]):
        row = {str(name): value.values[i] for name, value in table.data_vars.items() if value.dims == ("claim",)}
        adjusted = "" if row["adjusted"] == row["verdict"] else f" [after Holm: {row['adjusted']}]"
        reason = f": {row['reason']}" if row["reason"] else ""
        again = _elsewhere(row["verdict"], others, i)
        told = f"{row['source']}: {row['statement']}{adjusted}{again}{_halves(row)}"
        lines.append(f"{str(row['verdict']).upper():17}  {told}")
        lines.append(f"{'':17}  {row['statistic']}: {_numbers(row)}; rule: {row['rule']}{reason}")
    return "\n".join([*lines, _counts(table) + "".join(f"; {_repeated(table, other)}" for other in others)])


def findings_on(claims: Sequence[Claim], cube: xr.Dataset) -> list[str]:
    """Return the verdicts on those claims that one study decides: their counts, then each with its numbers below it.

    Parameters
    ----------
    claims
        The claims of several studies.
    cube
        Of one of them; its attr ``study`` says which.

    Raises
    ------
    ValueError
        If no claim is about a study of the cube's name.
    """
    study = str(cube.attrs.get("study"))
    own = [claim for claim in claims if claim.number.study == study]
    if not own:
        known = ", ".join(dict.fromkeys(claim.number.study for claim in claims))
        raise ValueError(f"expected the cube of one of {known}; got study {study!r}")
    return findings(verdicts(own, {study: cube}))


def _numbers(row: Mapping[str, Any]) -> str:
    """Return mean, interval, seeds and the teachers' accuracies in words."""
    if not row["seeds"]:
        return "no data"
    spread = f" ({row['low']:+.3f} to {row['high']:+.3f})" if np.isfinite(row["low"]) else ""
    words = f"{row['mean']:+.3f}{spread}, {row['seeds']:.0f} {'seed' if row['seeds'] == 1 else 'seeds'}"
    known = {"train": row["teacher_train"], "test": row["teacher_test"]}
    told = ", ".join(f"{value:.2f} {data}" for data, value in known.items() if np.isfinite(value))
    return words + (f", teacher's accuracy {told}" if told else "")


def _halves(row: Mapping[str, Any]) -> str:
    """Return what both halves of the seeds say, where one of them does not say the same as all."""
    found = row["even"], row["odd"]
    if row["verdict"] == NOT_TESTABLE or found == (row["verdict"],) * 2:
        return ""
    return f" [halves of the seeds: {found[0]}, {found[1]}]"


def _elsewhere(verdict: str, others: Sequence[xr.Dataset], i: int) -> str:
    """Return what other runs say of claim ``i``, where they do not say the same."""
    found = [(other["seeds_from"].item(), str(other["verdict"].values[i])) for other in others]
    different = [f"{said} in seeds from {start}" for start, said in found if said != verdict]
    return f" [{', '.join(different)}]" if different else ""


def _repeated(table: xr.Dataset, other: xr.Dataset) -> str:
    """Return of how many claims another run says the same, and which verdicts it turns round."""
    one, two = table["verdict"].values, other["verdict"].values
    return (
        f"another run, with seeds from {other['seeds_from'].item()}, says the same of {int((one == two).sum())} "
        f"of {len(one)} claims; flipped: {_turned_round(table, one, two)}"
    )


def _flipped(table: xr.Dataset) -> str:
    """Return how often both halves of the seeds agree, and the claims that one reproduces and the other contradicts."""
    even, odd = table["even"].values, table["odd"].values
    tested = (even != NOT_TESTABLE) & (odd != NOT_TESTABLE)
    return (
        f"two disjoint halves of the seeds say the same of {int((tested & (even == odd)).sum())} of the "
        f"{int(tested.sum())} claims that both can test; flipped: {_turned_round(table, even, odd)}"
    )


def _turned_round(table: xr.Dataset, one: np.ndarray, two: np.ndarray) -> str:
    """Return the names of the claims that one of two lists of verdicts reproduces and the other contradicts."""
    turned = [{a, b} == {REPRODUCED, CONTRADICTED} for a, b in zip(one, two, strict=True)]
    return ", ".join(map(str, table["claim"].values[turned])) or "none"


def _counts(table: xr.Dataset) -> str:
    verdict = table["verdict"].values
    sources = sorted({str(source) for source in table["source"].values[(verdict != NOT_TESTABLE)]})
    counts = ", ".join(f"{int((verdict == one).sum())} {one}" for one in VERDICTS)
    after = ", ".join(f"{int((table['adjusted'] == one).sum())} {one}" for one in VERDICTS[:3])
    return (
        f"{counts}; after Holm's correction {after}; "
        f"{len(sources)} rows of the paper tested ({', '.join(sources) or 'none'}); {_flipped(table)}"
    )


def findings(table: xr.Dataset) -> list[str]:
    """Return the verdicts of a cube of claims: their counts first, then each claim with its numbers below it.

    Raises
    ------
    ValueError
        If the cube holds no verdicts.
    """
    require(table, ["verdict"], ["claim"])
    *lines, last = format_verdicts(table).splitlines()
    counts, _, rest = last.partition("; ")
    each = [f"  {line.strip()}" if line.startswith(" ") else " ".join(line.split()) for line in lines]
    told = [line for line in each[::2] if not line.startswith(REPRODUCED.upper())]
    listed = [f"  not reproduced: {'; '.join([*told[:_LISTED], *(['…'] if told[_LISTED:] else [])])}"] if told else []
    return [f"{table.sizes['claim']} claims: {counts}", *listed, f"  {rest}", *each]
