"""Where the numbers of a cube came from, in rows of a name and a text."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr

from kdlandscape.cubes.provenance import FACTS, SAME, mixtures
from kdlandscape.cubes.schema import DONE, RUN
from kdlandscape.cubes.words import value_words

_SHOWN = 3  # values of one fact


def origins(cube: xr.Dataset) -> list[tuple[str, str]]:
    """Return commit, versions, machine, times and memory of the runs of a cube; a fact that differs says how."""
    found = {name: _values(cube, name) for name in FACTS}
    rows = [("recipe of the runs", str(cube.attrs[f"{RUN}recipe"]))] if f"{RUN}recipe" in cube.attrs else []
    rows += _commit(found["git_commit"], found["git_dirty"])
    rows += [(FACTS[name][0], _some(found[name])) for name in ("python", "device", "notebook_hash") if found[name]]
    rows += _versions(found["packages"]) + _data(found["data"]) + _times(cube, found)
    counts = {name: Counter(map(str, found[name])) for name in SAME if found[name]}
    rows += [("the runs differ", words) for words in mixtures(counts)]
    return rows


def without_home(words: str) -> str:
    """Return a text with "~" in place of the home folder, whose name a stranger need not read."""
    home = str(Path.home())
    return words.replace(home, "~") if len(home) > 1 else words


def _values(cube: xr.Dataset, name: str) -> list:
    """Return a fact of every finished run."""
    key = f"{RUN}{name}"
    if key not in cube.variables:
        return []
    array = cube[key]
    if DONE in cube and set(cube[DONE].dims) == set(array.dims):
        done = cube[DONE].transpose(*array.dims).values.astype(bool)
        return list(np.atleast_1d(array.values[done]))
    return list(array.values.ravel())


def _some(values: list) -> str:
    counts = Counter(value_words(value) for value in values)
    if len(counts) == 1:
        return next(iter(counts))
    shown = ", ".join(f"{value or 'none'} ({count} runs)" for value, count in counts.most_common(_SHOWN))
    return f"{shown}{', …' if len(counts) > _SHOWN else ''}"


def _commit(commits: list, dirty: list) -> list[tuple[str, str]]:
    if not commits:
        return []
    changed = sum(bool(one) for one in dirty)
    note = f"; in {changed} of {len(dirty)} runs tracked files differed from it" if changed else ""
    return [(FACTS["git_commit"][0], f"{_some(commits) or 'none'}{note}")]


def _versions(packages: list) -> list[tuple[str, str]]:
    versions: dict[str, str] = {}
    for found in dict.fromkeys(map(str, packages)):
        versions |= json.loads(found or "{}")
    return [("package versions", ", ".join(f"{name} {version}" for name, version in versions.items()))] * bool(versions)


def _data(revisions: list) -> list[tuple[str, str]]:
    known: dict[str, str] = {}
    for found in dict.fromkeys(map(str, revisions)):
        known |= json.loads(found or "{}")
    return [(FACTS["data"][0].removesuffix(", JSON"), ", ".join(f"{name}: {at}" for name, at in known.items()))] * bool(
        known
    )


def _times(cube: xr.Dataset, found: dict[str, list]) -> list[tuple[str, str]]:
    rows = []
    starts = sorted(str(one) for one in found["started_at"] if str(one))
    if starts:
        rows.append(
            (FACTS["started_at"][0].replace("the run", "the first and of the last run"), f"{starts[0]}, {starts[-1]}")
        )
    seconds = np.array([one for one in found["wall_time"] if np.isfinite(one)], float)
    if len(seconds):
        rows.append(
            ("run time", f"{_duration(seconds.sum())} in all; median {_duration(float(np.median(seconds)))} a run")
        )
    memory = [float(one) for one in found["peak_memory"] if np.isfinite(one)]
    if memory:
        rows.append((FACTS["peak_memory"][0], f"at most {max(memory) / 2**20:.0f} MiB"))
    return rows


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
