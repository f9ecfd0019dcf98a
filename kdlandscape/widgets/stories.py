"""Which variables are told beside the chosen one when a story moves along a dim."""

import xarray as xr

from kdlandscape.cubes.words import variable_words
from kdlandscape.widgets.dims import long_dims, shown_variables
from kdlandscape.widgets.state import curve_variables
from kdlandscape.widgets.variable_list import SUBJECTS, subject

#: Variables that answer one question together, where a cube has them.
TOGETHER = {
    "agreement with the teacher": ("agreement", "control_agreement"),
    "distance to the teacher": ("distance_end", "distance_start"),
    "barrier": ("barrier",),
}
#: So many curves fit beside the surface on one screen.
MAX_CURVES = 3
MAX_PATHS = 2


def curves(cube: xr.Dataset, story: str) -> dict[str, tuple[str, ...]]:
    """Return the variables of each curve by its title: those that belong together first, then the cube's own order."""
    known = curve_variables(cube, story)
    found = {title: tuple(name for name in names if name in known) for title, names in TOGETHER.items()}
    found = {title: names for title, names in found.items() if names}
    used = {name for names in found.values() for name in names}
    for name in known:
        words = variable_words(cube.variables[name], name)
        if len(found) >= MAX_CURVES:
            break
        if name not in used and words not in found and subject(cube.variables[name], name) != SUBJECTS[-1]:
            found[words] = (name,)
    return found


def paths(cube: xr.Dataset, story: str) -> list[str]:
    """Return the variables along the path between two networks, the loss first."""
    along = [
        name
        for name in shown_variables(cube)
        if "t" in long_dims(cube, name) and story != "t" and subject(cube.variables[name], name) == "path"
    ]
    return sorted(along, key=lambda name: name != "path_loss")[:MAX_PATHS]
