"""Grids of panels from the dims of a cube."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from kdlandscape.cubes.words import cell_words, value_words

_NARROW = 4.5  # inches; a column of a two-column venue is narrower
_LETTER = 0.44  # mean width of a letter over its height


def grid_of_axes(
    num: int, columns: int, *, height: float = 1.1, sharex: bool = False, sharey: bool = False
) -> np.ndarray:
    """Return a grid of new axes (rows, columns).

    Parameters
    ----------
    num
        How many axes; what is left over of the grid is invisible.
    columns
        How many columns where the figure is as wide as a page; a narrow column of a page holds half as many.
    height
        Of a panel, over its width.
    sharex, sharey
        As in ``plt.subplots``.
    """
    width = plt.rcParams["figure.figsize"][0]
    columns = min(num, columns if width >= _NARROW else max(1, columns // 2))
    rows = -(-num // columns)
    size = (width, height * width / columns * rows)
    axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=sharex, sharey=sharey)[
        1
    ]
    for spare in axes.flat[num:]:
        spare.set_visible(False)
    return axes


def panels(
    data: xr.Dataset | xr.DataArray,
    draw: Callable[..., Any],
    *,
    row: str | None = None,
    col: str | None = None,
    **settings: Any,
) -> np.ndarray:
    """Draw one panel for each coordinate of one or two dims, as seaborn's ``row=`` and ``col=`` do.

    Parameters
    ----------
    data
        A cube, or one of its variables.
    draw
        Called as ``draw(part, ax=ax, **settings)`` with the part of the data that belongs to a panel.
    row, col
        Dims; each becomes the rows or the columns of the grid. All panels share their axes.

    Returns
    -------
    numpy.ndarray
        Axes (rows, columns).

    Raises
    ------
    ValueError
        If a dim is not in the data.
    """
    for dim in (row, col):
        if dim is not None and dim not in data.dims:
            raise ValueError(f"expected a dim of {', '.join(map(str, data.dims))}; got {dim!r}")
    rows, columns = (data[dim].values.tolist() if dim else [None] for dim in (row, col))
    width = plt.rcParams["figure.figsize"][0]
    size = (width, 0.9 * width / len(columns) * len(rows))
    axes = plt.subplots(
        len(rows), len(columns), figsize=size, layout="constrained", squeeze=False, sharex=True, sharey=True
    )[1]
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            at = {dim: value for dim, value in ((row, y), (col, x)) if dim is not None}
            draw(data.sel(at), ax=axes[i, j], **settings)
            axes[i, j].set_title(cell_words(data, at))
    wrap_labels(axes)
    hide_shared_labels(axes)
    legend_of_all(axes)
    return axes


def new_axes(ax: Axes | None) -> Axes:
    """Return the axes given, or new ones."""
    return plt.subplots(layout="constrained")[1] if ax is None else ax


def hide_shared_labels(axes: np.ndarray) -> None:
    """Hide labels and numbers inside a grid (rows, columns) where a neighbour shows the same ones on a shared scale.

    An axis that is not shared, or has another label, keeps both: whatever an axis shows is read from the page alone.
    """
    for (i, j), ax in np.ndenumerate(axes):
        below, left = (axes[i + 1, j] if i + 1 < len(axes) else None), (axes[i, j - 1] if j else None)
        if below is not None and below.get_visible() and _same(ax, below, "x"):
            ax.xaxis.label.set_visible(False)
            ax.tick_params(labelbottom=False)
        else:  # a row that is not full leaves nothing below
            ax.tick_params(labelbottom=True)
        if left is not None and _same(ax, left, "y"):
            ax.yaxis.label.set_visible(False)
            ax.tick_params(labelleft=False)


def _same(ax: Axes, other: Axes, which: str) -> bool:
    shared = ax.get_shared_x_axes() if which == "x" else ax.get_shared_y_axes()
    labels = [getattr(one, f"get_{which}label")() for one in (ax, other)]
    return shared.joined(ax, other) and labels[0] == labels[1]


def wrap_labels(axes: Iterable[Axes]) -> None:
    """Break the labels and titles of axes into lines that are no longer than the axes themselves, as they are written.

    A name with a dollar is no formula.
    """
    for ax in np.ravel(np.asarray(axes, dtype=object)):
        width, height = inches_of(ax)
        for label, inches in ((ax.xaxis.label, width), (ax.yaxis.label, height), (ax.title, width)):
            label.set_text(wrapped(label.get_text(), inches, label.get_fontsize()))
            label.set_linespacing(1.0)
            label.set_parse_math(False)


def points_of(size: float | str) -> float:
    """Return a font size, such as "small", in points."""
    return font_manager.FontProperties(size=size).get_size_in_points()


def wrapped(text: str, inches: float, size: float | str) -> str:
    """Return a text in lines that fit into a length at a font size."""
    words = " ".join(text.split()).replace(" = ", "\u00a0=\u00a0").replace(" [", "\u00a0[")  # these stay together
    filled = textwrap.fill(words, max(12, int(inches * 72 / (_LETTER * points_of(size)))), break_long_words=False)
    return filled.replace("\u00a0", " ")


def legend_above(ax: Axes, title: str = "") -> None:
    """Put the legend of axes above them, in as many columns as fit, so that it never lies over the data."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    inches = inches_of(ax)[0] + 0.3  # it may reach a little beyond the axes
    legend = ax.legend(handles, labels, **_legend_style(labels, title, inches))
    legend.set_loc("lower left")
    legend.set_bbox_to_anchor((0, 1.0), transform=ax.transAxes)
    _as_written(legend)


def legend_of_all(axes: Iterable[Axes], title: str = "") -> None:
    """Put one legend for several axes above their figure; a name that several of them have stands there once."""
    found: dict[str, Any] = {}
    flat = list(np.ravel(np.asarray(axes, dtype=object)))
    for ax in flat:
        own = ax.get_legend()
        title = title or (own.get_title().get_text() if own else "")
        if own:
            own.remove()
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure = flat[0].figure
        style = _legend_style(list(found), title, figure_inches(flat[0])[0])
        _as_written(figure.legend(list(found.values()), list(found), loc="outside upper center", **style))


def _as_written(legend: Legend) -> None:
    """Let no name in a legend be taken for a formula."""
    for text in (legend.get_title(), *legend.get_texts()):
        text.set_parse_math(False)


def place_names(values: xr.DataArray, dim: str) -> list[str]:
    """Return the coordinates of a dim in words; those that would read alike are written in full."""
    places: Any = values[dim].values if dim in values.coords else np.arange(values.sizes[dim])
    if places.dtype.kind == "M":
        return [str(name) for name in np.datetime_as_string(places, unit="auto")]
    held = places.astype(str).tolist() if places.dtype.kind == "m" else places.tolist()
    words = [value_words(value) for value in held]
    return [word if words.count(word) == 1 else repr(value) for value, word in zip(held, words, strict=True)]


def tick_words(values: xr.DataArray, dim: str) -> list[str]:
    """Return `place_names` as texts beside the ticks of an axis, where a dollar would begin a formula."""
    return [name.replace("$", r"\$") for name in place_names(values, dim)]


def _legend_style(labels: Sequence[str], title: str, inches: float) -> dict[str, Any]:
    """Return the settings of a legend without a frame, with columns that fit into a width."""
    size = points_of(plt.rcParams["legend.fontsize"])
    entry = (_LETTER * max(map(len, labels)) + 2.8) * size / 72
    columns = max(1, min(len(labels), int(inches / entry)))
    gaps = {"handlelength": 1.6, "handletextpad": 0.4, "columnspacing": 0.8, "borderaxespad": 0.2, "borderpad": 0.2}
    text = {"fontsize": size, "title_fontsize": size, "title": title or None}
    return {"ncols": columns, "frameon": False, **text, **gaps}


def inches_of(ax: Axes) -> np.ndarray:
    """Return width and height of axes in inches."""
    return np.asarray(ax.get_position().size) * figure_inches(ax)


def figure_inches(ax: Axes) -> np.ndarray:
    """Return width and height of the figure of axes in inches."""
    return np.asarray(ax.figure.bbox.size) / ax.figure.dpi
