from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from kdlandscape import figures
from kdlandscape.cubes.variables import dataset, variable
from tests.synthetic import demo_cube


def frames(path):
    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append(np.asarray(image.convert("RGB")).astype(int))
        return found, image.info["duration"]


def training():
    """Return what `training_path` does, of five steps down a bowl."""
    axis = np.linspace(-1, 1, 9)
    points = np.stack([np.linspace(0.8, 0, 5), np.linspace(-0.8, 0, 5)], 1)
    return dataset(
        {
            "plane_loss": variable(("y", "x"), axis[:, None] ** 2 + axis**2 + 0.01, "loss on the plane", "nat"),
            "points": variable(("step", "axis"), points, "place in the plane"),
            "loss": variable("step", (points**2).sum(1) + 0.01, "training loss", "nat"),
        },
        {
            "step": variable("step", [0, 10, 20, 30, 40], "optimizer steps taken"),
            "axis": ["x", "y"],
            "x": variable("x", axis, "first direction"),
            "y": variable("y", axis, "second direction"),
        },
    )


@pytest.mark.parametrize(("cube", "along", "count"), [(demo_cube(), "init_lambda", 4), (training(), "step", 5)])
def test_an_animation_has_a_frame_for_each_place_and_every_frame_moves(tmp_path, cube, along, count):
    before = plt.get_fignums()
    found, duration = frames(figures.animate(cube, tmp_path / "deep" / "a.gif", along, dpi=60, seconds=0.5))
    assert plt.get_fignums() == before
    assert len(found) == count
    assert duration == pytest.approx(500, abs=10)
    for one, other in pairwise(found):
        assert one.shape == other.shape
        half = one.shape[1] // 2
        assert np.abs(one - other)[:, :half].max() > 50  # the plane or its trajectory
        assert np.abs(one - other)[:, half:].max() > 50  # the place on the curve
        assert (one == other).mean() > 0.5  # and the page around them stands still
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.gif"]


def test_what_cannot_be_animated_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"path: expected a file that ends in .*\.gif.*got 'a.avi'"):
        figures.animate(demo_cube(), tmp_path / "a.avi")
    with pytest.raises(ValueError, match="along: expected a dim of the cube"):
        figures.animate(demo_cube(), tmp_path / "a.gif", "init_lamda")
    with pytest.raises(ValueError, match="curve: expected a variable over init_lambda alone"):
        figures.animate(demo_cube(), tmp_path / "a.gif", curve="plane_loss")
    with pytest.raises(ValueError, match="expected one place along"):
        figures.animate(demo_cube().drop_vars("run.done"), tmp_path / "a.gif")
    with pytest.raises(ValueError, match="expected the variable 'plane_loss'"):
        figures.animate(demo_cube().drop_vars("plane_loss"), tmp_path / "a.gif")
    monkeypatch.setattr("matplotlib.animation.writers.is_available", lambda name: False)
    with pytest.raises(RuntimeError, match=r"expected the program ffmpeg to write .mp4 files"):
        figures.animate(demo_cube(), tmp_path / "a.mp4")
