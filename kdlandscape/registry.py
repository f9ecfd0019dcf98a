"""Findings, figures and vocabularies by name: those of this package, and those that other packages add as entry points.

Names are read without importing what they stand for, so that a spec is checked before matplotlib or xarray is loaded.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from kdlandscape.nearest import did_you_mean, listed

#: kind -> name -> place of the function. A finding takes a cube and returns sentences, a figure returns axes;
#: labels take the name of a notebook, and return its parameters in words.
OWN: dict[str, dict[str, str]] = {
    "findings": {
        "basins": "kdlandscape.studies.basin_shares:findings",
        "claims": "kdlandscape.studies.verdict_table:findings",
        "compare": "kdlandscape.studies.network_pairs:findings",
        "excess": "kdlandscape.studies.excess:findings",
        "flatness": "kdlandscape.studies.flatness_ratios:findings",
        "function_prior": "kdlandscape.studies.function_priors_kept:findings",
        "generalization": "kdlandscape.studies.generalization:findings",
        "mechanics": "kdlandscape.studies.mechanics_compared:findings",
        "onsets": "kdlandscape.studies.onsets:findings",
        "posterior": "kdlandscape.studies.posterior_distances:findings",
        "shared_starts": "kdlandscape.studies.shared_starts:findings",
        "thread": "kdlandscape.studies.thread:findings",
        "stanton2021": "kdlandscape.studies.stanton2021:findings",
        "start_angles": "kdlandscape.studies.start_angles:findings",
        "subliminal": "kdlandscape.studies.subliminal:findings",
    },
    "figures": {
        "agreement": "kdlandscape.figures.verdicts:agreement",
        "basins": "kdlandscape.figures.barrier_bars:basins",
        "claims": "kdlandscape.figures.verdicts:claims",
        "function_prior": "kdlandscape.figures.function_prior_lines:function_prior",
        "generalization": "kdlandscape.figures.generalization_bars:generalization",
        "init_lambda": "kdlandscape.figures.lines:init_lambda",
        "mechanics": "kdlandscape.figures.mechanics_lines:mechanics",
        "overview": "kdlandscape.figures.cube_overview:overview",
        "network_plane": "kdlandscape.figures.compared:network_plane",
        "network_spectra": "kdlandscape.figures.compared:network_spectra",
        "pair_fidelity": "kdlandscape.figures.compared:pair_fidelity",
        "pair_paths": "kdlandscape.figures.compared:pair_paths",
        "planes": "kdlandscape.figures.surfaces:planes",
        "posterior": "kdlandscape.figures.posterior_bars:posterior",
        "removed_share": "kdlandscape.figures.barrier_bars:removed_share",
        "shared_starts": "kdlandscape.figures.starts:shared_starts",
        "start_angles": "kdlandscape.figures.starts:start_angles",
        "subliminal": "kdlandscape.figures.starts:subliminal",
        "training_path": "kdlandscape.figures.training_paths:training_path",
    },
    "labels": {"parameters": "kdlandscape.studies.parameter_labels:labels"},
}


class RegistryError(ValueError):
    """A finding or a figure is unknown, stands for two things, or cannot be loaded."""


def registered(kind: str) -> dict[str, list[EntryPoint]]:
    """Return what each name of a kind (``findings``, ``figures``, ``labels``) stands for; two places are a conflict.

    Another package adds a name in its ``pyproject.toml``::

        [project.entry-points."kdlandscape.findings"]
        my_finding = "my_package.module:function"
    """
    found: dict[str, list[EntryPoint]] = {}
    for point in _points(kind):
        places = found.setdefault(point.name, [])
        if point.value not in [place.value for place in places]:  # one package can be on the path twice
            places.append(point)
    return found


def _points(kind: str) -> Iterator[EntryPoint]:
    group = f"kdlandscape.{kind}"
    yield from (EntryPoint(name, place, group) for name, place in OWN[kind].items())
    yield from entry_points(group=group)


def find(kind: str, name: str) -> EntryPoint:
    """Return the one place that a name stands for, without importing it.

    Raises
    ------
    RegistryError
        If the name is unknown, or two packages have it.
    """
    known = registered(kind)
    if name not in known:
        raise RegistryError(
            f"{kind}: expected some of {listed(sorted(known))}, got {name!r}.{did_you_mean(name, known)}"
        )
    if len(known[name]) > 1:
        places = " and ".join(point.value for point in known[name])
        raise RegistryError(f"{kind}: expected one function called {name!r}, got {places}; uninstall or rename one")
    return known[name][0]


def load(kind: str, name: str) -> Callable[..., Any]:
    """Import and return the function that a name stands for.

    Raises
    ------
    RegistryError
        As for `find`, and if the function cannot be imported.
    """
    point = find(kind, name)
    try:
        function = point.load()
    except (ImportError, AttributeError) as error:
        raise RegistryError(f"{kind}: expected {name!r} at {point.value}, got {error}") from error
    if not callable(function):
        raise RegistryError(f"{kind}: expected a function at {point.value}, got {function!r}")
    return function
