"""Fidelity beyond generalization: a student's agreement with its teacher, in excess of an independent student's."""

import xarray as xr

from kdlandscape.cubes.statistics import t_interval
from kdlandscape.studies.sentences import cells, require


def findings(cube: xr.Dataset) -> list[str]:
    """Say for every arm how far its test agreement exceeds that of the independent student, with a 95 % t interval.

    Raises
    ------
    ValueError
        If the cube lacks agreement and excess over ``split`` and ``seed``.
    """
    require(cube, ["excess_agreement", "agreement"], ["split", "seed"])
    test = cube[["excess_agreement", "agreement"]].sel(split="test", drop=True)
    return [f"{where or 'all runs'}: {_sentence(cell)}" for where, cell in cells(test, kept=["seed"])]


def _sentence(cell: xr.Dataset) -> str:
    found, agreement = t_interval(cell["excess_agreement"]), float(cell["agreement"].mean())
    count = int(found["count"])
    if count < 3:
        return f"not decided: {count} seeds are done, a verdict needs at least 3."
    mean, low, high = (float(found[name]) for name in ("mean", "low", "high"))
    verdict = "is shown" if low > 0 else "is ruled out" if high <= 0 else "is not shown"
    return (
        f"test agreement {agreement:.1%}, {mean:+.1%} ({low:+.1%} to {high:+.1%}) beyond the independent student's: "
        f"fidelity {verdict} ({count} seeds)."
    )
