"""The panels of a board as a matplotlib figure: what the browser shows, for paper and where there is no kernel."""

import math
import warnings
from collections.abc import Sequence
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from kdlandscape.cubes.words import MAX_NAME
from kdlandscape.widgets.graph_picture import MARKERS, draw_graph, plain, wrapped
from kdlandscape.widgets.panels import Panel, numbers
from kdlandscape.widgets.state import ANGLE

DASHES: tuple[Any, ...] = ("-", (0, (6, 3)), (0, (2, 3)), (0, (8, 3, 2, 3)), (0, (1, 2)))
DOTS = ("o", "s", "^", "D", "*")
#: A fallback picture is as wide as a notebook's page.
FALLBACK: Any = {"figure.figsize": (11.0, 7.0), "font.size": 9.0}


def figure(panels: Sequence[Panel], sentence: str = "", angle: Sequence[float] = ANGLE) -> Figure:
    """Draw panels side by side, in the width and fonts that matplotlib is set to.

    Parameters
    ----------
    panels
        Panels of a board.
    sentence
        Stands above them.
    angle
        Turn, tilt and zoom of a surface from the side.
    """
    width = rcParams["figure.figsize"][0]
    columns = 1 if len(panels) == 1 else 2 if width < 6 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    drawn = Figure(figsize=(width, rows * (0.82 if columns > 1 else 0.7) * width / columns), layout="constrained")
    if sentence:
        drawn.suptitle(plain(sentence), fontsize="small", wrap=True)
    room = int(72 * width / columns / (0.6 * rcParams["font.size"]))
    for i, panel in enumerate(panels):
        solid = {"projection": "3d"} if panel["kind"] == "surface" else {}
        draw(panel, drawn.add_subplot(rows, columns, i + 1, **solid), angle, room)
    return drawn


def png(panels: Sequence[Panel], sentence: str = "", angle: Sequence[float] = ANGLE, dpi: float = 90) -> bytes:
    """Return the board as a PNG, for a front end that runs no widgets."""
    file = BytesIO()
    with rc_context(FALLBACK), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name may use any script
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)  # or fill any room
        figure(panels, sentence, angle).savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def draw(panel: Panel, ax: Any, angle: Sequence[float] = ANGLE, room: int = 60) -> None:
    """Draw one panel on axes; a surface needs axes with ``projection="3d"``. ``room`` is its width in letters."""
    if panel["kind"] == "message":
        ax.set_axis_off()
        told = fill(plain(panel["text"]), max(room * 5 // 6, 8))
        ax.text(0.5, 0.5, told, ha="center", va="center", transform=ax.transAxes).set_in_layout(False)
    elif panel["kind"] == "lines":
        _lines(panel, ax, room)
    elif panel["kind"] == "surface":
        _surface(panel, ax, angle, room)
    elif panel["kind"] == "graph":
        draw_graph(panel, ax)
    else:
        _plane(panel, ax, room)
    if panel["kind"] != "surface":
        pad = {"pad": 4 + rcParams["font.size"]} if any(panel.get("ends", ())) else {}
        ax.set_title(wrapped(panel["title"], room * 5 // 6), fontsize="medium", **pad)


def _norm(panel: Panel) -> Normalize:
    low, high = panel["limits"]
    return LogNorm(low, high, clip=True) if panel["log"] else Normalize(low, high, clip=True)


def _plane(panel: Panel, ax: Axes, room: int) -> None:
    z = np.ma.masked_invalid(numbers(panel))
    x, y = (np.array(panel[name]["places"]) for name in "xy")
    # A value between two places exists only where both axes are continuous; a gap would spread over its neighbours.
    shading: Any = "gouraud" if panel["smooth"] and not z.mask.any() else "nearest"
    norm = _norm(panel)
    ax.pcolormesh(x, y, np.clip(z, *panel["limits"]), norm=norm, cmap=panel["map"], shading=shading, rasterized=True)
    if levels := _levels(panel):
        ax.contour(x, y, z, levels=levels, colors="white", linewidths=0.5)
    if panel["line"]:
        for color, wide in (("black", 2.4), ("white", 1.2)):
            ax.plot(*zip(*panel["line"], strict=True), color=color, lw=wide)
    for mark in panel["marks"]:
        style: Any = {"color": "white", "mec": "black", "mew": 0.6, "ms": 5, "ls": ""}
        ax.plot(mark["x"], mark["y"], MARKERS[mark["symbol"]], label=f" {plain(mark['name'])}", **style)
    if panel["smooth"]:
        ax.set_xlim(x[0], x[-1])
        ax.set_ylim(y[0], y[-1])
    if panel["square"]:
        ax.set_aspect("equal")
    for name in "xy":
        _axis(panel[name], ax, name, room)
    if panel["marks"]:
        _below(ax, *ax.get_legend_handles_labels(), turned=_turned(panel["x"]))
    bar = ax.figure.colorbar(ScalarMappable(norm, panel["map"]), ax=ax)
    bar.set_label(wrapped(panel["label"], room // 2), fontsize="small")


def _levels(panel: Panel) -> list[float]:
    """Return the levels of a panel that its surface crosses."""
    z = numbers(panel)
    known = z[np.isfinite(z)]
    return [level for level in panel["levels"] if known.size > 3 and known.min() < level < known.max()]


def _surface(panel: Panel, ax: Any, angle: Sequence[float], room: int) -> None:
    turn, tilt, zoom = angle
    height = np.clip(numbers(panel).astype(float), *panel["limits"])
    low, high = panel["limits"]
    if panel["log"]:
        height, low, high = np.log10(height), math.log10(low), math.log10(high)
    x, y = np.meshgrid(panel["x"]["places"], panel["y"]["places"])
    ax.plot_surface(x, y, height, cmap=panel["map"], vmin=low, vmax=high, rcount=64, ccount=64, zorder=1)
    if levels := _levels(panel):
        floor = np.log10(levels) if panel["log"] else levels
        ax.contour(x, y, height, levels=floor, zdir="z", offset=low, colors="0.6", linewidths=0.4, zorder=0)
    ax.set_zlim(low, high)
    ax.computed_zorder = False  # a pin stands out of the surface, also behind a hill
    ax.view_init(elev=math.degrees(tilt), azim=math.degrees(math.atan2(-math.cos(turn), -math.sin(turn))))
    ax.set_box_aspect((2, 2, 1.15), zoom=zoom * 0.9)
    for name in "xy":  # a label that is longer than the edge it stands on would cross the other one
        words = panel[name]["name"]
        getattr(ax, f"set_{name}label")(plain(words if len(words) <= 14 else panel[name]["short"]), fontsize="small")
    label = panel["label"]  # the colour bar beside it has the whole of a long one
    label = label if len(label) <= 18 else f"value [{label.split(' [')[-1]}" if label.endswith("]") else "value"
    unit = f"log10 {label}" if panel["log"] else label
    ax.set_zlabel(wrapped(unit, room // 3), fontsize="small", labelpad=1)
    ax.tick_params(labelsize="small")
    for mark in panel["marks"]:
        spot = _height(panel, height, mark)
        if spot is not None:
            head = spot + 0.12 * (high - low)
            ax.plot([mark["x"]] * 2, [mark["y"]] * 2, [spot, head], color="black", lw=0.8, zorder=3)
            style = {"color": "white", "mec": "black", "mew": 0.6, "ms": 5, "zorder": 4}
            ax.plot([mark["x"]], [mark["y"]], [head], MARKERS[mark["symbol"]], **style)


def _height(panel: Panel, height: np.ndarray, mark: Any) -> float | None:
    """Return the height of the grid point next to a mark; None where the mark lies beside the plane."""
    found = []
    for name in "yx":
        places = np.array(panel[name]["places"])
        if not places.min() <= mark[name] <= places.max():
            return None
        found.append(int(np.abs(places - mark[name]).argmin()))
    value = float(height[tuple(found)])
    return value if math.isfinite(value) else None


def _lines(panel: Panel, ax: Axes, room: int) -> None:
    roles = {line["role"] for line in panel["lines"]}
    stems = [line for line in panel["lines"] if line["role"] == "stems"]
    for line in panel["lines"]:
        x, y = np.array(line["x"]), np.array([np.nan if value is None else value for value in line["y"]])
        if line["role"] == "stems":
            x = x + 0.08 * (stems.index(line) - (len(stems) - 1) / 2)
            ax.vlines(x, 0, y, color=line["color"])
            ax.plot(x, y, DOTS[line["style"] % 5], color=line["color"], label=f" {plain(line['name'])}")
        else:
            _line(line, x, y, ax)
    if panel["at"] is not None:
        ax.axvline(panel["at"], color="0.5", alpha=0.35, lw=5, zorder=0)
    if panel["log"]:
        ax.set_yscale("log")
    elif panel["limits"] and not stems:
        low, high = panel["limits"]
        pad = 0.06 * (high - low) or abs(high) * 0.1 or 0.5
        ax.set_ylim(low - pad, high + pad)
    if stems:
        ax.set_xticks(range(1, 1 + max(len(line["x"]) for line in stems)))
    _barrier(panel, ax)
    _axis(panel["x"], ax, "x", room)
    ax.set_ylabel(wrapped(panel["label"], room // 2))
    _legend(ax, roles, turned=_turned(panel["x"]))


def _line(line: Panel, x: np.ndarray, y: np.ndarray, ax: Axes) -> None:
    dash = DASHES[line["style"] % 5] if line["joined"] else ""
    if line["role"] == "thin":
        ax.plot(x, y, ls=dash or "none", marker="" if dash else ".", color=line["color"], lw=0.6, alpha=0.45)
    elif line["role"] == "mean":
        low, high = (np.array([np.nan if v is None else v for v in line[key]]) for key in ("low", "high"))
        if line["joined"]:
            ax.fill_between(x, low, high, color=line["color"], alpha=0.2, lw=0)
            ax.plot(x, y, color=line["color"], lw=2.2, alpha=0.6)
        else:
            ax.errorbar(x, y, [y - low, high - y], fmt="_", color=line["color"], ms=9, capsize=4, alpha=0.6)
    else:
        marker = DOTS[line["style"] % 5] if len(x) <= 30 or not dash else ""
        name = f" {plain(line['name'])}"
        ax.plot(x, y, ls=dash or "none", marker=marker, color=line["color"], lw=1.2, ms=3.5, label=name)


def _barrier(panel: Panel, ax: Axes) -> None:
    """Draw the chord between the ends of a path, the bracket of its barrier and the names of its ends."""
    if chord := panel.get("chord"):
        ax.plot(chord[::2], chord[1::2], ":", color="0.4", lw=1, label=" chord")
        spot = panel["bracket"]
        ax.annotate(
            "", (spot["x"], spot["low"]), (spot["x"], spot["high"]), arrowprops={"arrowstyle": "<->", "color": "0.3"}
        )
        ax.plot([], [], " ", label=f" {plain(spot['text'])}")
    for place, (name, align) in zip(
        (0.0, 1.0), zip(panel.get("ends", ()), ("left", "right"), strict=False), strict=False
    ):
        if name:
            ax.annotate(
                plain(name), (place, 1), xycoords=("data", "axes fraction"), ha=align, va="bottom", size="small"
            )


def _legend(ax: Axes, roles: set[str], *, turned: bool) -> None:
    handles, names = ax.get_legend_handles_labels()
    if "mean" in roles:
        handles = [*handles, Patch(color="0.4", alpha=0.4), Line2D([], [], color="0.4", lw=0.6)]
        names = [*names, "mean, 95 % interval", "each repeat"]
    if len(names) > 1 or "stems" in roles:
        _below(ax, handles, names, turned=turned)


def _below(ax: Axes, handles: Sequence[Any], names: Sequence[str], *, turned: bool) -> None:
    """Write the legend under the axis, where no data are."""
    lines = (-64 if turned else -36) - 13 * ax.get_xlabel().count("\n")
    down = ScaledTranslation(0, lines * rcParams["font.size"] / 10 / 72, ax.figure.dpi_scale_trans)
    names = [name if len(name) <= MAX_NAME + 12 else f"{name[:MAX_NAME]}…" for name in names]
    columns = 1 if max(map(len, names)) > 24 else min(3, len(names))
    ax.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + down,
        ncols=columns,
        fontsize="x-small",
        frameon=True,
        facecolor="0.9",
        edgecolor="none",
    )


def _turned(axis: Panel) -> bool:
    return bool(axis["labels"]) and max(map(len, axis["labels"])) > 6


def _axis(axis: Panel, ax: Axes, name: str, room: int) -> None:
    getattr(ax, f"set_{name}label")(wrapped(axis["name"], room * 2 // 3 if name == "x" else room // 2))
    if axis["labels"]:
        step = -(-len(axis["labels"]) // 10)
        texts = [plain(text) for text in axis["labels"][::step]]
        turn = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if _turned(axis) else {}
        getattr(ax, f"set_{name}ticks")(axis["places"][::step], texts, **(turn if name == "x" else {}))
    elif axis["log"]:
        getattr(ax, f"set_{name}scale")("log")
