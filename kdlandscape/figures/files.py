"""Figures as files: venue sizes, embedded fonts, the same bytes every time."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

FORMATS = ("pdf", "png")


def venue_style(venue: str = "neurips2024", *, rows: int = 1, columns: int = 4) -> AbstractContextManager:
    """Return a context in which new figures have a venue's width, fonts and sizes (tueplots)."""
    from tueplots import bundles

    if not hasattr(bundles, venue):
        known = sorted(name for name in vars(bundles) if name[-4:].isdigit())
        raise ValueError(f"expected a venue of {', '.join(known)}; got {venue!r}")
    settings = getattr(bundles, venue)(usetex=False, nrows=rows, ncols=columns)
    serif = [*settings.get("font.serif", []), "STIXGeneral", "DejaVu Serif"]
    return mpl.rc_context({**settings, "font.serif": serif, "pdf.fonttype": 42, "svg.hashsalt": "kdlandscape"})


def export(figure: Figure, path: Path | str) -> list[Path]:
    """Write a figure as PDF and PNG (300 dpi) beside each other, atomically and without a date; return the paths."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with TemporaryDirectory(dir=path.parent) as folder:
        for kind in FORMATS:
            target = path.with_suffix(f".{kind}")
            metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
            figure.savefig(Path(folder) / target.name, dpi=300, metadata=metadata)
            os.replace(Path(folder) / target.name, target)
            written.append(target)
    return written


def export_study(cube: xr.Dataset, names: Sequence[str], folder: Path | str) -> list[Path]:
    """Draw and export the named figures of a cube; return the files."""
    from kdlandscape import figures

    written: list[Path] = []
    for name in names:
        with venue_style():
            axes = getattr(figures, name)(cube)
            figure = axes.flat[0].figure
            written += export(figure, Path(folder) / name)
            plt.close(figure)
    return written
