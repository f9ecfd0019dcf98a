"""A study at a glance: its networks, and how far each is from the others by every barrier and agreement it holds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from kdlandscape.cubes.words import dim_symbol, kind, short_label, short_words, value_words
from kdlandscape.widgets import selection
from kdlandscape.widgets.dims import STORIES, hue_dim, long_dims, positions, run_dims, shown_variables
from kdlandscape.widgets.state import State
from kdlandscape.widgets.variable_list import SUBJECTS, coordinate, subject

TEACHER = "teacher"
#: Where a name says that a network is no student of the teacher.
_CONTROLS = ("independent", "control", "hard label", "same init", "random")
MAX_GRAPHS = 3
PAIR = ("first", "second")
#: A dim whose places are pairs of networks, and what stands between the names of the two.
PAIRS, BETWEEN = "pair", " | "
_NO_NETWORKS = ("alignment", "correction", "split")


@dataclass(frozen=True)
class Network:
    """A network: its name, and what it is: teacher, student or control.

    ``place`` and ``at`` are its position and coordinate along the dim of networks, or -1 and nothing; ``here`` says
    whether the present cell is at it.
    """

    name: str
    role: str
    place: int = -1
    at: float | None = None
    here: bool = False


@dataclass(frozen=True)
class Relation:
    """How far networks are apart: a value for each known pair of positions in the list of networks."""

    title: str
    label: str
    values: Mapping[tuple[int, int], float]
    closer_is_more: bool


@dataclass(frozen=True)
class Networks:
    """The networks of a cell along ``dim``, and their relations."""

    dim: str
    networks: tuple[Network, ...]
    relations: tuple[Relation, ...]


def relations_of(cube: xr.Dataset) -> list[str]:
    """Return the variables that say how far networks are apart: a barrier and an agreement, where there are any."""
    known = [name for name in shown_variables(cube) if subject(cube.variables[name], name) != SUBJECTS[-1]]
    barriers = [name for name in known if "barrier" in name and not name.startswith("control_")]
    barriers.sort(key=lambda name: name != "barrier")
    return [*barriers[:1], *(name for name in known if name == "agreement")]


def network_dim(cube: xr.Dataset) -> str:
    """Return the dim whose places are networks, or pairs of them; empty if none of the relations has one."""
    if pair_names(cube):
        return PAIRS
    for name in relations_of(cube):
        dims = [dim for dim in long_dims(cube, name) if dim not in _NO_NETWORKS]
        own = [dim for dim in STORIES if dim in dims] + [dim for dim in PAIR if dim in dims]
        found = own or [dim for dim in dims if dim not in run_dims(cube) and kind(cube, dim) == "category"]
        if found:
            return found[0]
    return ""


def pair_names(cube: xr.Dataset) -> list[list[str]]:
    """Return the names of the two networks at each place of the dim of pairs; none where there is no such dim."""
    related = any(PAIRS in cube.variables[name].dims for name in relations_of(cube))
    found = [value_words(value).split(BETWEEN) for value in coordinate(cube, PAIRS)] if related else []
    return found if all(len(names) == 2 for names in found) else []


def graph_dim(cube: xr.Dataset, name: str, dim: str) -> str:
    """Return the dim whose places each get a graph: the kinds of alignment of a barrier; empty if there is none."""
    return hue_dim(cube, name, (dim, *PAIR, "split")) if "barrier" in name else ""


def shown_dims(cube: xr.Dataset) -> set[str]:
    """Return the dims that a study at a glance shows one place of; the networks themselves can be chosen too."""
    dim = network_dim(cube)
    dims = {(name, str(one)) for name in relations_of(cube) for one in cube.variables[name].dims}
    return {one for name, one in dims if one not in (*PAIR, PAIRS, graph_dim(cube, name, dim))}


def read_networks(cube: xr.Dataset, state: State) -> Networks | None:
    """Read the networks and relations of the present cell; None where the cube holds none."""
    dim = network_dim(cube)
    if not dim:
        return None
    listed = _of_pairs(cube) if dim == PAIRS else _of_places(cube, state, dim)
    used = [name for name in relations_of(cube) if dim in cube.variables[name].dims]
    if any(f"control_{name}" in cube for name in used):
        listed.append(Network("independent student" if dim != PAIRS else "independent", "control"))
    made = [relation for name in used for relation in _relations(cube, state, name, dim, listed)]
    return Networks(dim, tuple(listed), tuple(made))


def _of_pairs(cube: xr.Dataset) -> list[Network]:
    """Return the networks of a dim of pairs; the first one of all is called the teacher."""
    first, *others = dict.fromkeys(name for names in pair_names(cube) for name in names)
    return [Network(first, TEACHER), *(Network(name, "student") for name in others)]


def _of_places(cube: xr.Dataset, state: State, dim: str) -> list[Network]:
    """Return the networks along a dim; a teacher that is none of them comes first."""
    names = [value_words(value) for value in coordinate(cube, dim)]
    words = kind(cube, dim) == "category"
    named = [name if words else f"{dim_symbol(cube, dim)} = {name}" for name in names]
    at = positions(cube, dim)
    listed = [Network(name, _role(name), i, float(at[i]), i == state.at.get(dim)) for i, name in enumerate(named)]
    if not any(one.role == TEACHER for one in listed):
        listed.insert(0, Network(TEACHER, TEACHER))
    return listed


def _role(name: str) -> str:
    if name.startswith(TEACHER):
        return TEACHER
    return "control" if any(word in name.lower() for word in _CONTROLS) else "student"


def _relations(cube: xr.Dataset, state: State, name: str, dim: str, listed: list[Network]) -> list[Relation]:
    """Return the relations of a variable: one for each kind of alignment."""
    kinds = graph_dim(cube, name, dim)
    array = selection.at_cell(cube[name], state.at, (dim, *PAIR, kinds)).load()
    parts = (
        [(f", {dim_symbol(cube, kinds)}: {value_words(v)}", i) for i, v in enumerate(coordinate(cube, kinds))]
        if kinds
        else []
    )
    made = []
    for title, place in parts[:MAX_GRAPHS] or [("", 0)]:
        part = array.isel({kinds: place}) if kinds else array
        if dim == PAIRS:
            values = _named_pairs(cube, state, part, name, listed)
        elif set(PAIR) <= set(part.dims):
            values = _pairs(part, listed)
        else:
            values = _to_teacher(cube, state, part, name, dim, listed)
        found = {pair: value for pair, value in values.items() if np.isfinite(value)}
        if found:
            words = short_words(cube[name])
            made.append(Relation(f"{words}{title}", short_label(cube[name]), found, name == "agreement"))
    return made


def _pairs(part: xr.DataArray, listed: list[Network]) -> dict[tuple[int, int], float]:
    table, shift = part.transpose(*PAIR).values, len(listed) - part.sizes[PAIR[0]]
    size = len(table)
    return {(i + shift, j + shift): float(table[i, j]) for i in range(size) for j in range(i + 1, size)}


def _named_pairs(
    cube: xr.Dataset, state: State, part: xr.DataArray, name: str, listed: list[Network]
) -> dict[tuple[int, int], float]:
    """Return the value of each pair of names, and that of the first network of each and the control."""
    at = {one.name: i for i, one in enumerate(listed)}
    pairs = pair_names(cube)
    found = {(at[a], at[b]): float(value) for (a, b), value in zip(pairs, part.values, strict=True)}
    control = f"control_{name}"
    if control in cube:
        beyond = selection.at_cell(cube[control], state.at, (PAIRS,)).values
        found |= {(at[a], len(listed) - 1): float(value) for (a, _), value in zip(pairs, beyond, strict=True)}
    return found


def _to_teacher(
    cube: xr.Dataset, state: State, part: xr.DataArray, name: str, dim: str, listed: list[Network]
) -> dict[tuple[int, int], float]:
    """Return the values between the teacher and each network of a dim, and that of the control at the present cell."""
    teacher = next(i for i, one in enumerate(listed) if one.role == TEACHER)
    found = {
        (teacher, i): float(part.values[one.place]) for i, one in enumerate(listed) if one.place >= 0 and i != teacher
    }
    control = f"control_{name}"
    if control in cube and not set(cube.variables[control].dims) - set(state.at):
        found[teacher, len(listed) - 1] = float(selection.at_cell(cube[control], state.at))
    return found
