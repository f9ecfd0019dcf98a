"""Figures as files: a venue's width and fonts, embedded text, the same bytes every time, the data beside them."""

import shutil
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from kdlandscape.cubes.files import publish, scratch
from kdlandscape.registry import load

_FORMATS = ("pdf", "svg", "png")
# Where each format keeps a sentence about itself; every date is left out, so that the bytes repeat.
_METADATA: dict[str, tuple[str, dict[str, Any]]] = {
    "pdf": ("Subject", {"CreationDate": None, "ModDate": None}),
    "svg": ("Description", {"Date": None}),
    "png": ("Description", {}),
    "pgf": ("", {}),
}


def venues() -> list[str]:
    """Return the names of the known venues (tueplots), such as ``neurips2024`` or ``icml2024`` (one column)."""
    from tueplots import bundles

    return sorted(name for name in dir(bundles) if name[-4:].isdigit())


def venue_settings(venue: str = "neurips2024") -> Any:
    """Return the matplotlib settings of a venue: width, font and sizes, with fonts that are always installed last.

    Raises
    ------
    ValueError
        For an unknown venue, with the known ones.
    """
    from tueplots import bundles

    if venue not in venues():
        raise ValueError(f"expected a venue of {', '.join(venues())}; got {venue!r}")
    make = getattr(bundles, venue)
    settings = make(usetex=False) if "usetex" in signature(make).parameters else make()
    family = settings.get("font.family", "serif")
    fallback = {"serif": ["STIXGeneral", "DejaVu Serif"], "sans-serif": ["DejaVu Sans"]}[family]
    return {
        **settings,
        "text.usetex": False,
        f"font.{family}": [*settings.get(f"font.{family}", []), *fallback],
        "mathtext.fontset": "stix",
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "kdlandscape",
        "savefig.bbox": "standard",
    }


def venue_style(venue: str = "neurips2024") -> AbstractContextManager:
    """Return a context in which new figures have a venue's width, fonts and sizes."""
    return mpl.rc_context(venue_settings(venue))


def export(
    figure: Figure,
    path: Path | str,
    venue: str = "neurips2024",
    *,
    data: xr.Dataset | None = None,
    caption: str = "",
    about: str = "",
) -> list[Path]:
    """Write a figure for a venue as PDF, SVG and PNG (300 dpi), and as PGF where TeX is present; return the paths.

    The figure is set to the venue's text width (its shape kept) and to its fonts. PDF fonts are embedded as Type 42,
    SVG keeps text as text, and writing twice gives the same bytes. Every file is replaced atomically.

    Parameters
    ----------
    figure
        Any matplotlib figure; it is changed to the venue's size and fonts.
    path
        Without the suffix.
    venue
        See `venues`.
    data
        What the figure shows; written beside it as netCDF and, if it has one set of dims, as CSV.
    caption
        Written beside it as text, to start a caption from.
    about
        One line of provenance, kept in the files' metadata.
    """
    path = Path(path)
    settings = venue_settings(venue)
    written = []
    with mpl.rc_context(settings), scratch(path.parent) as folder:
        _fit(figure, settings)
        formats = [*_FORMATS, *(["pgf"] if shutil.which(mpl.rcParams["pgf.texsystem"]) else [])]
        for kind in formats:
            key, metadata = _METADATA[kind]
            metadata = metadata | ({key: about} if key and about else {})
            figure.savefig(folder / f"{path.name}.{kind}", dpi=300, metadata=metadata or None)
        if caption:
            (folder / f"{path.name}.txt").write_text(textwrap.fill(caption, 100) + "\n", encoding="utf-8")
        if data is not None:
            _write_data(data, folder / path.name)
        for file in sorted(folder.iterdir()):
            publish(file, path.parent / file.name)
            written.append(path.parent / file.name)
    return written


def _fit(figure: Figure, settings: Mapping[str, Any]) -> None:
    """Give a figure the width and the fonts of a venue, whatever it was drawn with."""
    width, height = figure.get_size_inches()
    venue_width = settings["figure.figsize"][0]
    figure.set_size_inches(venue_width, height * venue_width / width)
    for text in figure.findobj(Text):
        text.set_fontfamily(mpl.rcParams["font.family"])
    for axis in figure.findobj(Axis):
        axis.label.set_fontsize(settings["axes.labelsize"])
        axis.set_tick_params(labelsize=settings["xtick.labelsize"], which="both")
    for axes in figure.axes:
        axes.title.set_fontsize(settings["axes.titlesize"])
    for legend in figure.findobj(Legend):
        for text in legend.get_texts():
            text.set_fontsize(min(text.get_fontsize(), settings["legend.fontsize"]))


def _write_data(data: xr.Dataset, stem: Path) -> None:
    data = data.drop_encoding()
    data.to_netcdf(f"{stem}.nc", engine="netcdf4")
    if len({variable.dims for variable in data.data_vars.values()}) == 1 and next(iter(data.data_vars.values())).dims:
        data.to_dataframe().reset_index().map(_harmless).to_csv(f"{stem}.csv", index=False)


def _harmless(cell: Any) -> Any:
    """Return a text that a spreadsheet would take for a formula with a quote before it, which it takes for text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


class UndrawnFigure(UserWarning):
    """A figure that a spec names cannot be drawn from the study's cube."""


def caption_of(name: str, cube: xr.Dataset) -> str:
    """Return what a registered figure shows, bars and bands included, and what it was drawn from."""
    first = (load("figures", name).__doc__ or name).splitlines()[0].strip().removeprefix("Draw ")
    first = first[:1].upper() + first[1:]
    size = cube.sizes.get("seed", 1)
    seeds = f"{size} seeds" if size > 1 else "one seed"
    return f"{first} Data: study {cube.attrs['study']}, {seeds}." if "study" in cube.attrs else first


def drawn_figures(cube: xr.Dataset, names: Sequence[str], venue: str = "neurips2024") -> Iterator[tuple[str, Figure]]:
    """Draw registered figures of a cube in a venue's style, and yield each with its name; it is closed afterwards.

    Warns
    -----
    UndrawnFigure
        For each figure that the cube cannot give; the others are drawn.
    """
    for name in names:
        draw, before = load("figures", name), set(plt.get_fignums())
        with venue_style(venue), warnings.catch_warnings():
            # a name may be in any script, and as long as a figure
            warnings.filterwarnings("ignore", "Glyph|constrained_layout not applied", UserWarning)
            try:
                drawn = draw(cube)
                yield name, getattr(drawn, "flat", [drawn])[0].figure
            except Exception as error:  # one figure, perhaps of another package, does not cost the others
                message = f"figure {name} cannot be drawn from this cube: {type(error).__name__}: {error}"
                warnings.warn(message, UndrawnFigure, stacklevel=2)
            finally:
                for number in set(plt.get_fignums()) - before:
                    plt.close(number)


def export_study(cube: xr.Dataset, names: Sequence[str], folder: Path | str, venue: str = "neurips2024") -> list[Path]:
    """Draw and export registered figures of a cube, with their captions; return the files.

    Warns
    -----
    UndrawnFigure
        For each figure that the cube cannot give; the others are drawn.
    """
    about = "; ".join(f"{key} {cube.attrs[key]}" for key in ("study", "run.recipe") if key in cube.attrs)
    written: list[Path] = []
    for name, figure in drawn_figures(cube, names, venue):
        written += export(figure, Path(folder) / name, venue, caption=caption_of(name, cube), about=about)
    return written
