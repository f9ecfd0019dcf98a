"""The figure of a recorded training shows its path, its curvature beside the threshold, and its distances."""

import numpy as np

import kdlandscape as kdl
from kdlandscape.cubes import dataset, variable


def recorded(threshold=2.0, barrier=0.0):
    steps, line = np.arange(0, 50, 10), np.linspace(1, 0.1, 5)
    over = {
        name: variable("step", value, name, "1")
        for name, value in {
            "loss": line,
            "barrier": barrier * line,
            "distance": line,
            "distance_travelled": 1 - line,
            "stability_threshold": np.full(5, threshold),
        }.items()
    }
    plane = 1 + np.add.outer(np.linspace(-1, 1, 4) ** 2, np.linspace(-1, 1, 4) ** 2)
    shown = {
        **over,
        "eigenvalues": variable(("step", "eigenvalue"), 3 * line[:, None], "eigenvalue", "nat"),
        "points": variable(("step", "axis"), np.stack([line, line**2], 1), "place"),
        "plane_loss": variable(("y", "x"), plane, "loss", "nat"),
    }
    coords = {"step": steps, "axis": ["x", "y"], "x": np.linspace(-1, 1, 4), "y": np.linspace(-1, 1, 4)}
    return dataset(shown, coords)


def test_four_panels_show_the_numbers_of_the_training():
    result = recorded(barrier=0.5)
    plane, curvature, loss, distance = kdl.figures.training_path(result)
    np.testing.assert_allclose(plane.lines[-1].get_xydata(), result["points"])
    np.testing.assert_allclose(curvature.lines[0].get_ydata(), result["eigenvalues"].isel(eigenvalue=0))
    np.testing.assert_allclose(curvature.lines[-1].get_ydata(), 2.0)
    np.testing.assert_allclose(loss.lines[0].get_ydata(), result["loss"])
    np.testing.assert_allclose(loss.lines[1].get_ydata(), result["barrier"])
    np.testing.assert_allclose(distance.lines[0].get_ydata(), result["distance"])


def test_a_threshold_that_is_not_known_and_barriers_of_zero_are_not_drawn():
    _, curvature, loss, _ = kdl.figures.training_path(recorded(threshold=np.nan))
    assert curvature.get_legend_handles_labels()[1] == ["largest eigenvalue"]
    assert len(loss.lines) == 1
