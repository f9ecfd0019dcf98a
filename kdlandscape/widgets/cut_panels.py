"""The panels of a line between two points of a plane: the value on it with its barrier, and its curvature."""

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from kdlandscape.cubes.words import short_label, short_words
from kdlandscape.widgets import panels
from kdlandscape.widgets.bundles import chord_of
from kdlandscape.widgets.cuts import Cut
from kdlandscape.widgets.panels import Panel

#: A line that varies by so small a share of its mean is constant: planes are stored in single precision.
FLAT = 1e-3


def cut_panels(cuts: Mapping[str, Cut]) -> list[Panel]:
    """Return a panel for the value along a line and one for its curvature, with one line for each cell by name.

    Under each panel stands where its numbers come from. A single loss gets its chord and its barrier.
    """
    if not cuts:
        return []
    first = next(iter(cuts.values()))
    words = {"value": short_words(first.value), "curvature": "curvature"}
    made = []
    for (name, title), note in zip(words.items(), first.notes, strict=True):
        known = {cell: getattr(one, name) for cell, one in cuts.items()}
        if not any(np.isfinite(values).any() for values in known.values()):
            continue
        drawn = [
            panels.line(cell or words["value"], values["t"].values, values.values, i)
            for i, (cell, values) in enumerate(known.items())
        ]
        label = short_label(known[next(iter(known))])
        axis = panels.plain_axis("place on the line, t")
        title = f"{title} from {first.names[0]} to {first.names[1]}"
        panel = panels.lines_panel(drawn, title=title, x=axis, label=label, limits=_flat(known.values()))
        marks = chord_of(first.value, "t") if name == "value" and len(cuts) == 1 else {}
        made.append({**panel, "readout": note, "ends": list(first.names), "cut": True, **marks})
    return made


def _flat(lines: Iterable[xr.DataArray]) -> tuple[float, float] | None:
    """Return limits for a line that is constant up to rounding, which an axis of its own would blow up."""
    found = np.concatenate([values.values[np.isfinite(values.values)] for values in lines])
    middle, spread = float(found.mean()), float(np.ptp(found))
    return (0.9 * middle, 1.1 * middle) if 0 < spread < FLAT * middle else None
