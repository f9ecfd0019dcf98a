"""The graph of a study's networks in matplotlib, as the board draws it."""

import math
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from kdlandscape.widgets.panels import Panel

MARKERS = {"star": "*", "square": "s", "circle": "o", "diamond": "D", "triangle": "^"}
ROLES = {"star": "teacher", "circle": "student", "diamond": "control"}
CHOSEN = "#de8f05"


def plain(text: object) -> str:
    """Return a text that matplotlib draws as it is: a dollar would begin a formula."""
    return str(text).replace("$", r"\$")


def wrapped(text: object, width: int) -> str:
    """Return a text in three lines of so many letters at most, for a title or a label; "λ = 0.25" stays together."""
    held = plain(text).replace(" = ", "\u00a0=\u00a0")
    return fill(held, max(width, 8), max_lines=3, placeholder=" …")


def draw_graph(panel: Panel, ax: Axes) -> None:
    """Draw networks as nodes with their names outside, edges, and rings or the colours that say their values."""
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(-2.2, 2.2)
    ax.set_ylim(-2.1, 1.9)
    turn = np.linspace(0, 2 * math.pi, 181)
    for ring in panel["rings"]:
        ax.plot(ring["r"] * np.cos(turn), ring["r"] * np.sin(turn), color="0.75", lw=0.6)
        ax.text(0, ring["r"], ring["text"], ha="center", va="bottom", fontsize="x-small", color="0.35")
    norm = Normalize(*panel["limits"])
    for edge in panel["edges"]:
        a, b = (panel["nodes"][edge[end]] for end in ("from", "to"))
        color = "0.2" if panel["rings"] else colormaps[panel["map"]](norm(edge["value"]))
        dash = (0, (4, 3)) if b["symbol"] == "diamond" else "-"
        ax.plot([a["x"], b["x"]], [a["y"], b["y"]], color=color, lw=1.2 if panel["rings"] else 2.4, ls=dash, zorder=2)
    for node in panel["nodes"]:
        _node(node, ax)
    used = dict.fromkeys(node["symbol"] for node in panel["nodes"])
    handles = [*(_mark(symbol, "white", ROLES[symbol]) for symbol in used), _mark("circle", CHOSEN, "chosen")]
    ax.legend(handles=handles, loc="lower center", ncols=2, fontsize="x-small", frameon=False)
    said = wrapped(panel["readout"].split(";")[0], 44)
    ax.text(0, 1.9, said, ha="center", va="top", fontsize="x-small")
    for artist in ax.get_children():
        artist.set_in_layout(False)  # names beside the rings would take the room from them
    if not panel["rings"]:
        ax.figure.colorbar(ScalarMappable(norm, panel["map"]), ax=ax).set_label(plain(panel["label"]))


def _node(node: Panel, ax: Axes) -> None:
    """Draw a node; its name stands outside the rings, on the ray through it."""
    size = 11 if node["symbol"] == "star" else 6
    ax.plot(
        node["x"],
        node["y"],
        MARKERS[node["symbol"]],
        mfc=CHOSEN if node["chosen"] else "white",
        mec="black",
        ms=size,
        zorder=3,
    )
    away = math.hypot(node["x"], node["y"])
    if away < 1e-9:
        return
    u, v = node["x"] / away, node["y"] / away
    ax.plot([node["x"], 1.06 * u], [node["y"], 1.06 * v], ":", color="0.7", lw=0.6, zorder=1)
    side: Any = "center" if abs(u) < 0.25 else "left" if u > 0 else "right"
    level: Any = "center" if abs(u) >= 0.25 else "bottom" if v > 0 else "top"
    name = "\n".join(plain(text) for text in (node["name"], node["value"]) if text)
    ax.text(1.14 * u, 1.14 * v, name, ha=side, va=level, fontsize="x-small")


def _mark(symbol: str, color: str, name: str) -> Line2D:
    return Line2D([], [], marker=MARKERS[symbol], mfc=color, mec="black", ls="", ms=5, label=name)
