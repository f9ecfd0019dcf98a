"""What a scene shows, read from the cube once.  The panels are made from it and never ask the cube again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from kdlandscape.cubes.words import dim_symbol, readable, short_words, variable_words
from kdlandscape.widgets import cuts, selection, stories
from kdlandscape.widgets.dims import hue_dim, long_dims, positions, repeat_dim, run_dims, shown_variables
from kdlandscape.widgets.selection import Limits, Lines
from kdlandscape.widgets.state import State
from kdlandscape.widgets.study_networks import Networks, read_networks, shown_dims
from kdlandscape.widgets.variable_list import place_words


@dataclass(frozen=True)
class Cell:
    """One cell of the cube: the chosen variable there, and what belongs to the same networks.

    ``missing`` says why there is nothing of the variable; it is empty where there is something: ``values`` over two
    axes, with the lines ``row`` and ``column`` through ``point``, or ``lines`` over one.
    """

    title: str
    missing: str
    spectra: Mapping[str, xr.DataArray]
    density: xr.DataArray | None
    lines: Lines | None = None
    values: xr.DataArray | None = None
    point: tuple[float, float] | None = None
    row: xr.DataArray | None = None
    column: xr.DataArray | None = None
    marks: tuple[dict[str, float | str], ...] = ()
    cut: cuts.Cut | None = None


@dataclass(frozen=True)
class View:
    """Everything on the board: the cells by name ("" where there is one), and what runs along paths and the story.

    ``chosen`` are the dims with a slider: each panel shows the cell that they name.
    """

    problem: str
    cells: Mapping[str, Cell]
    limits: Limits = None
    paths: tuple[Lines, ...] = ()
    curves: Mapping[str, tuple[Lines, ...]] | None = None
    chosen: tuple[str, ...] = ()
    where: str = ""
    unit: str = ""
    networks: Networks | None = None
    on_plane: State | None = None


def read(cube: xr.Dataset, state: State, limits: Limits = None) -> View:
    """Read what the present view shows.

    Parameters
    ----------
    cube, state
        What to choose from, and the choice.
    limits
        The colour limits; default: they are computed from the cube.
    """
    problem = problem_of(cube, state)
    if problem:
        return View(problem, {})
    chosen = cell_dims(cube, state)
    if state.view == "glance":
        return read_glance(cube, state, chosen)
    at = {"A": state.at, "B": state.other} if state.view == "compare" else {"": state.at}
    where = {name: place_words(cube, place, chosen) for name, place in at.items()}
    return View(
        problem="",
        cells={name: read_cell(cube, state, place, name, chosen) for name, place in at.items()},
        limits=limits or (selection.limits(cube, state) if state.y else None),
        paths=tuple(selection.lines(cube, name, "t", state, state.at) for name in path_variables(cube, state)),
        curves={
            title: tuple(selection.lines(cube, name, state.story, state, state.at) for name in group)
            for title, group in curves(cube, state).items()
        },
        chosen=tuple(chosen),
        where="; ".join(f"{name}: {words}" if name else words for name, words in where.items() if words),
        unit=selection.plane_unit(cube, state),
    )


def read_glance(cube: xr.Dataset, state: State, chosen: list[str]) -> View:
    """Read a study at a glance: its networks, and the plane of the present cell where the cube has one."""
    networks, on_plane, where = (
        read_networks(cube, state),
        plane_state(cube, state),
        place_words(cube, state.at, chosen),
    )
    if networks is None or on_plane is None:
        return View("", {}, chosen=tuple(chosen), where=where, networks=networks)
    own = [dim for dim in chosen if dim in cube.variables[on_plane.variable].dims]
    return View(
        "",
        {"": read_cell(cube, on_plane, state.at, "", own)},
        limits=selection.limits(cube, on_plane),
        chosen=tuple(chosen),
        where=where,
        unit=selection.plane_unit(cube, on_plane),
        networks=networks,
        on_plane=on_plane,
    )


def plane_state(cube: xr.Dataset, state: State) -> State | None:
    """Return the state that shows the first plane through networks of a cube; None where it holds none."""
    held = [name for name in shown_variables(cube) if {"x", "y"} <= set(long_dims(cube, name))]
    if not held or "plane_points" not in cube:
        return None
    name = state.variable if state.variable in held else held[0]
    return state.copy(variable=name, x="x", y="y", log="loss" in name)


def read_cell(cube: xr.Dataset, state: State, at: Mapping[str, int], name: str, chosen: list[str]) -> Cell:
    """Read a cell; ``name`` stands before its title, and ``chosen`` are the dims that name it."""
    words = variable_words(cube.variables[state.variable], state.variable)
    title = ": ".join(filter(None, (name or short_words(cube[state.variable]), place_words(cube, at, chosen))))
    names = selection.spectrum_variables(cube, state.story)
    found = {one: selection.at_cell(cube[one], at, ("eigenvalue",)).load() for one in names}
    spectra = {one: array for one, array in found.items() if bool(np.isfinite(array).any())}
    density = selection.density(cube, at)
    missing = selection.hole(cube, at) or thin(cube, state)
    nothing = f"every value of {words} is missing (NaN) or infinite here; choose another cell"
    if missing:
        return Cell(title, missing, spectra, density)
    if not state.y:
        lines = selection.lines(cube, state.variable, state.x, state, at)
        missing = "" if np.isfinite(lines.values.values).any() else nothing
        return Cell(title, missing, spectra, density, lines=lines)
    values = selection.plane(cube, state, at)
    if not np.isfinite(values.values).any():
        return Cell(title, nothing, spectra, density)
    marks = selection.marks(cube, state, at)
    axes = (state.x, state.y)
    ends = cuts.ends_of(state.line, marks) if cuts.can_be_cut(values, axes) else None
    laid = cuts.cut(values, axes, state.line, ends, selection.plane_unit(cube, state)) if ends else None
    wanted = dict(zip(axes, state.point, strict=True)) if state.point else {}
    wanted |= {dim: positions(cube, dim)[at[dim]] for dim in axes if dim in chosen}
    point = selection.chosen_point(values, wanted, marks, axes)
    row, column = selection.lines_through(values, point, axes)
    return Cell(title, "", spectra, density, None, values, point, row, column, tuple(marks), laid)


def problem_of(cube: xr.Dataset, state: State) -> str:
    """Say why there is nothing at all to show; empty if there is something."""
    if not state.variable:
        held = ", ".join(map(str, cube.data_vars)) or "no variable"
        return (
            f"expected a cube with numbers over at least one dim, got {held}; "
            "open one with kdl.open_cube, or make one with kdl.run_study"
        )
    if state.x == state.y:
        return f"expected two different axes, got {state.x} twice; choose another one for x or y"
    return ""


def thin(cube: xr.Dataset, state: State) -> str:
    """Say which axis has a single point, where a plane needs two."""
    for dim in (state.x, state.y):
        if state.y and cube.sizes[dim] < 2:
            more = " or more along it, or another axis"
            return (
                f"expected at least two points along {readable(dim)}, got {cube.sizes[dim]}: a picture needs two{more}"
            )
    return ""


def curves(cube: xr.Dataset, state: State) -> dict[str, tuple[str, ...]]:
    """Return the variables of each curve along the story, by title."""
    if not state.story or state.view == "compare":
        return {}
    if state.view == "story":
        return stories.curves(cube, state.story)
    if not state.curve:
        return {}
    control = f"control_{state.curve}"
    names = (state.curve, control) if control in cube else (state.curve,)
    return {variable_words(cube.variables[state.curve], state.curve): names}


def path_variables(cube: xr.Dataset, state: State) -> list[str]:
    """Return the variables whose course along a path is shown beside the chosen one."""
    if state.view != "story":
        return []
    return [name for name in stories.paths(cube, state.story) if name != state.variable or state.y]


def cell_dims(cube: xr.Dataset, state: State) -> list[str]:
    """Return the dims that need a slider, in the cube's order: some panel shows one place of each.

    A dim that is an axis of one panel still needs one if another panel shows a single place of it.
    """
    if not state.variable:
        return []
    if state.view == "glance":
        on_plane = plane_state(cube, state)
        planes = set(map(str, cube.variables[on_plane.variable].dims)) - {"x", "y"} if on_plane else set()
        shown = {*run_dims(cube), *shown_dims(cube), *planes}
        return [dim for dim in map(str, cube.sizes) if dim in shown and cube.sizes[dim] > 1]
    cut = {*run_dims(cube)}
    kept: list[tuple[str, set[str]]] = [
        (name, {"eigenvalue"}) for name in selection.spectrum_variables(cube, state.story)
    ]
    kept += [("nodes", {"draw", "node"})] if selection.has_density(cube) else []
    lines = [(name, "t") for name in path_variables(cube, state)]
    lines += [(name, state.story) for names in curves(cube, state).values() for name in names]
    if state.y:
        kept.append((state.variable, {state.x, state.y}))
    else:
        lines.append((state.variable, state.x))
    kept += [(name, {x, hue_dim(cube, name, (x, state.story))}) for name, x in lines]
    cut |= {str(dim) for name, dims in kept for dim in cube.variables[name].dims if dim not in dims}
    story = {state.story} if curves(cube, state) or state.view == "story" else set()
    return [dim for dim in map(str, cube.sizes) if dim in cut | story and cube.sizes[dim] > 1]


def repeats_words(cube: xr.Dataset, state: State) -> str:
    """Return what the control of the spread is called; empty for a cube without repeats."""
    repeat = next((found for name in map(str, cube.data_vars) if (found := repeat_dim(cube, name))), "")
    return f"mean over {dim_symbol(cube, repeat)}s" if repeat else ""
