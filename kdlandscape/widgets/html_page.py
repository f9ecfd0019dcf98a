"""A view as one HTML file with script, style and numbers inside: it opens without a kernel and without a network."""

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.files import write
from kdlandscape.widgets import scene, selection
from kdlandscape.widgets.board import script, style
from kdlandscape.widgets.state import State, coordinate, name_of
from kdlandscape.widgets.view import read

MAX_CELLS = 41

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 12px; font-family: system-ui, sans-serif; color: CanvasText; background: Canvas; }}
label {{ display: flex; gap: 12px; align-items: center; margin: 8px 4px; }}
input[type=range] {{ flex: 0 1 420px; }}
{style}
</style></head><body>
<h1 style="font-size: 18px">{title}</h1>
<label {hidden}><span>{along}</span><input type="range" min="0" max="{last}" step="1" value="{start}">
<output id="cell"></output></label>
<div id="board"></div>
<details class="kdl-code"><summary>The lines that reproduce this view</summary><pre>{code}</pre></details>
<script type="module">
{script}
const {{ scenes, names, places, buffers }} = {data};
const board = document.getElementById("board"), slider = document.querySelector("input"),
  cell = document.getElementById("cell");
const whole = (panel) =>
  panel.z === undefined ? panel : {{ ...panel, z: buffers[panel.z], colors: buffers[panel.colors] }};
const mounted = mountBoard(board, (message) => {{
  if (message.kind !== "story") return;
  const gaps = places.map((place) => Math.abs(place - message.x));
  slider.value = gaps.indexOf(Math.min(...gaps));
  show();
}});
function show() {{
  const i = Number(slider.value);
  cell.textContent = names[i];
  mounted.update({{ panels: scenes[i].map(whole), serial: i + 1 }});
}}
slider.addEventListener("input", show);
show();
</script></body></html>
"""


def write_page(cube: xr.Dataset, state: State, path: Path | str, *, code: str = "") -> Path:
    """Write the present view as one HTML file, with a slider along the story's dim.

    Parameters
    ----------
    cube, state
        What is shown. At most 41 places of the story go into the file, evenly chosen and always the present one.
    path
        Where to.
    code
        Lines that reproduce the view, for the reader.
    """
    places = _places(cube, state)
    chosen = State(**{name: getattr(state, name) for name in state.trait_names()})
    limits = selection.limits(cube, state) if state.variable else None
    scenes = []
    for i in places:
        chosen.at = {**state.at, state.story: i} if state.story else state.at
        shared = limits if state.shared or state.view == "story" else None
        scenes.append(scene.board(read(cube, chosen, shared), chosen))
    names = [name_of(coordinate(cube, state.story)[i]) for i in places] if state.story else [""]
    buffers: dict[bytes, int] = {}
    data = {
        "scenes": [[_packed(panel, buffers) for panel in panels] for panels in scenes],
        "names": names,
        "places": selection.positions(cube, state.story)[places].tolist() if state.story else [0],
        "buffers": [base64.b64encode(held).decode() for held in buffers],
    }
    title = str(cube.attrs.get("study", "")) or "kdlandscape"
    page = PAGE.format(
        title=escape(f"{title}: {state.variable}"),
        style=style(),
        script=script(),
        data=json.dumps(data, allow_nan=False).replace("</", "<\\/"),
        along=escape(state.story),
        hidden="" if len(places) > 1 else "hidden",
        last=len(places) - 1,
        start=places.index(state.at[state.story]) if state.story else 0,
        code=escape(code),
    )
    write(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return Path(path)


def _places(cube: xr.Dataset, state: State) -> list[int]:
    if not state.story:
        return [0]
    size = cube.sizes[state.story]
    even = np.linspace(0, size - 1, min(size, MAX_CELLS)).round().astype(int).tolist()
    return sorted({*even, state.at[state.story]})


def _packed(panel: dict[str, Any], buffers: dict[bytes, int]) -> dict[str, Any]:
    """Replace bytes by their index in a list, so that the same surface is stored once."""
    return {
        name: buffers.setdefault(value, len(buffers)) if isinstance(value, bytes) else value
        for name, value in panel.items()
    }
