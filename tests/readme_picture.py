"""The README's picture and the data behind it, from the study that the README's command runs.

After ``kdlandscape demo``: ``python -m tests.readme_picture [papermill_runs/demo]``. The picture is the file that the
command has drawn; a test redraws it from the data.
"""

import shutil
import sys
from pathlib import Path

import xarray as xr

from kdlandscape import figures
from kdlandscape.cubes.store import first_done, open_cube, write_run

ROOT = Path(__file__).parents[1]
PICTURE, DATA = ROOT / ".github" / "demo.png", ROOT / ".github" / "demo.nc"
SHOWN = ["plane_loss", "plane_points", "plane_point_loss"]


def data_of(cube: xr.Dataset) -> xr.Dataset:
    """Return what the picture shows of a demo's cube."""
    run = first_done(cube)
    facts = {name: cube.attrs[name] for name in ("study", "run.recipe")}
    shown = run[SHOWN].drop_vars([name for name in run.coords if str(name).startswith("run.")], errors="ignore")
    small = shown.assign(plane_loss=shown["plane_loss"].astype("f4"))
    return small.load().drop_encoding().drop_attrs(deep=False).assign_attrs(facts)


def redraw(data: xr.Dataset, folder: Path) -> Path:
    """Draw the picture as the command does; return the file."""
    return next(path for path in figures.export_study(data, ["planes"], folder) if path.suffix == ".png")


def main(study: Path) -> None:
    """Take picture and data from a study that the README's command has run."""
    with open_cube(study) as cube:
        data = data_of(cube)
    write_run(data, DATA)
    shutil.copyfile(study / "figures" / "planes.png", PICTURE)
    print(f"{PICTURE}\n{DATA}\nrecipe {data.attrs['run.recipe']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "papermill_runs" / "demo")
