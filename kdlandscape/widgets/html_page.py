"""A view as one HTML file with script, style and numbers inside: it opens without a kernel and without a network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.files import write
from kdlandscape.cubes.words import dim_symbol, kind, value_words, variable_words, visible
from kdlandscape.widgets import scene
from kdlandscape.widgets.browser_files import page_script, style
from kdlandscape.widgets.dims import positions
from kdlandscape.widgets.state import State
from kdlandscape.widgets.variable_list import coordinate
from kdlandscape.widgets.view import cell_dims, read

#: So many cells go into a file: those of the story first, then those of repeats and of other dims.
MAX_CELLS = 132
MAX_STORY = 41
_NONE = "'none'"

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head><body class="kdl-page">
<h1>{title}</h1>
{board}
<details class="kdl-code"><summary>The lines that reproduce this view</summary><pre>{code}</pre></details>
{scripts}</body></html>
"""
BOARD = '<div id="sliders"></div>\n<div id="board"></div>'
SCRIPTS = '<script type="application/json" id="data">{data}</script>\n<script type="module">{script}</script>'


def write_page(cube: xr.Dataset, state: State, path: Path | str, *, code: str = "", cells: int = MAX_CELLS) -> Path:
    """Write the present view as one HTML file, with sliders along the story and along further dims that fit.

    Parameters
    ----------
    cube, state
        What is shown. At most 41 places of the story go into the file, evenly chosen and always the present one.
    path
        Where to write it.
    code
        Lines that reproduce the view, for the reader.
    cells
        A dim gets a slider in the file while all cells together are at most so many.
    """
    text = page(title(cube, state), contents(cube, state, cells), code)
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Path(path)


def contents(cube: xr.Dataset, state: State, cells: int = MAX_CELLS) -> dict[str, Any]:
    """Return what the script of a page reads: a scene for each cell, and the sliders that choose among them."""
    places = _places(cube, state, cells)
    fixed = state.view == "story" or (state.shared and state.view != "glance")
    shared = read(cube, state).limits if fixed else None
    chosen = state.copy()
    buffers: dict[bytes, int] = {}
    scenes = []
    for cell in product(*places.values()):
        chosen.at = {**state.at, **dict(zip(places, cell, strict=True))}
        view = read(cube, chosen, shared if _same_but_story(state, chosen) else None)
        panels, sentence = scene.compose(view, chosen)
        scenes.append({"panels": [_packed(panel, buffers) for panel in panels], "sentence": sentence})
    return {
        "scenes": scenes,
        "dims": [_dim(cube, state, dim, held) for dim, held in places.items()],
        "angle": list(state.angle),
        "buffers": [base64.b64encode(held).decode() for held in buffers],
    }


def page(heading: str, data: dict[str, Any], code: str) -> str:
    """Return the HTML of a page: every text in it is escaped, and only its own script may run."""
    return PAGE.format(
        title=escape(heading),
        policy=policy(style(), [page_script()]),
        style=style(),
        board=BOARD,
        code=escape(code),
        scripts=scripts(data),
    )


def scripts(data: dict[str, Any]) -> str:
    """Return the elements, last on a page, that fill its `BOARD` with what `contents` returns."""
    # No "<" is left in the data, so that nothing in them can end the element they stand in or begin another.
    return SCRIPTS.format(data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"), script=page_script())


def policy(styles: str, runs: Sequence[str] = (), *, images: bool = False) -> str:
    """Return a content policy: a page asks no machine for anything, and shows pictures only that are in it.

    A script and a style are named by their hashes, so that nothing else on the page runs, whatever a name contains.
    """
    allowed = f"script-src {' '.join(map(_hash, runs)) or _NONE}; style-src {_hash(styles)}"
    return f"default-src {_NONE}; {allowed};{' img-src data:;' * images} base-uri {_NONE}; form-action {_NONE}"


def title(cube: xr.Dataset, state: State) -> str:
    """Return the heading of a page: the study and the variable."""
    study = visible(cube.attrs.get("study", "")) or "kdlandscape"
    if state.view == "glance":
        return f"{study} at a glance"
    return f"{study}: {variable_words(cube[state.variable])}" if state.variable else study


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _dim(cube: xr.Dataset, state: State, dim: str, held: list[int]) -> dict[str, Any]:
    values = coordinate(cube, dim)
    return {
        "dim": dim,
        "name": dim_symbol(cube, dim),
        "texts": [value_words(values[i]) for i in held],
        "places": positions(cube, dim)[held].tolist(),
        "runs": held,
        "start": held.index(state.at[dim]),
    }


def _places(cube: xr.Dataset, state: State, cells: int) -> dict[str, list[int]]:
    """Return the positions that go into the file, for each dim with a slider."""
    dims = cell_dims(cube, state)
    dims.sort(key=lambda dim: (dim != state.story, kind(cube, dim) != "repeat"))
    found: dict[str, list[int]] = {}
    count = 1
    for dim in dims:
        size = cube.sizes[dim]
        held = list(range(size))
        if dim == state.story and size > MAX_STORY:
            even = np.linspace(0, size - 1, MAX_STORY).round().astype(int).tolist()
            held = sorted({*even, state.at[dim]})
        if count * len(held) <= cells:
            found[dim] = held
            count *= len(held)
    return found


def _same_but_story(state: State, chosen: State) -> bool:
    return all(i == chosen.at[dim] for dim, i in state.at.items() if dim != state.story)


def _packed(panel: dict[str, Any], buffers: dict[bytes, int]) -> dict[str, Any]:
    """Replace bytes by their index in a list, so that the same surface is stored once."""
    return {
        name: buffers.setdefault(value, len(buffers)) if isinstance(value, bytes) else value
        for name, value in panel.items()
    }
