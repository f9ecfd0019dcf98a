import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.distillation import distances_to_teacher, planes_through_starts, random_thetas

MODEL = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


@pytest.fixture(scope="module")
def objective():
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(12, 3, generator=generator), torch.randint(3, (12,), generator=generator)
    return kdl.Objective(MODEL, nn.CrossEntropyLoss(), data)


def planes(objective, starts, students, points=10):
    teacher, random = random_thetas(MODEL, [0, 1])
    lambdas = list(range(len(starts)))
    options = {"points": points, "generator": torch.Generator().manual_seed(0)}
    return planes_through_starts(objective, teacher, random, starts, students, lambdas, **options)


def test_distances_and_the_angle_of_the_start_are_those_of_the_weights():
    teacher, *rows = random_thetas(MODEL, range(5))
    starts, ends = torch.stack(rows[:2]), torch.stack(rows[2:])
    found = distances_to_teacher(teacher, starts, ends)
    t, a, b = (x.double().numpy() for x in (teacher, starts, ends))
    expected = {
        "distance_start": np.linalg.norm(a - t, axis=1),
        "distance_end": np.linalg.norm(b - t, axis=1),
        "distance_travelled": np.linalg.norm(b - a, axis=1),
        "cos_start": a @ t / np.linalg.norm(a, axis=1) / np.linalg.norm(t),
    }
    assert set(found.data_vars) == set(expected)
    for name, values in expected.items():
        assert found[name].dims == ("init_lambda",)
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


def test_each_plane_holds_the_losses_of_teacher_start_and_student_and_the_student_on_its_grid(objective):
    teacher, random, one, other = random_thetas(MODEL, range(4))
    starts, students = torch.stack([random, (random + teacher) / 2]), torch.stack([one, other])
    found = planes(objective, starts, students)
    for k in range(2):
        thetas = torch.stack([teacher, starts[k], students[k]])
        at_points = objective.evaluate(thetas)["loss"].double().numpy()
        np.testing.assert_allclose(found["plane_point_loss"].isel(init_lambda=k), at_points, rtol=1e-5)
        x, y = found["plane_points"].isel(init_lambda=k).sel(point="student").values
        assert abs(y) < 1e-5
        near = found["plane_loss"].isel(init_lambda=k).sel(x=x, y=0.0, method="nearest")
        assert float(near) == pytest.approx(at_points[2], rel=1e-4)
        assert float(found["x"].sel(x=x, method="nearest")) == pytest.approx(x, abs=1e-5)
    unit = float((random - teacher).norm())
    reach = np.linalg.norm((students - teacher).double().numpy(), axis=1)
    along = found["plane_points"].sel(point="student", axis="x").values
    np.testing.assert_allclose(along * found["plane_unit"].values * unit, reach, rtol=1e-5)


def test_a_student_that_never_left_its_teacher_has_a_plane_of_random_directions(objective):
    teacher = random_thetas(MODEL, [0])
    found = planes(objective, teacher, teacher)
    assert float(abs(found["plane_points"]).max()) < 1e-6
    assert float(found["plane_loss"].std()) > 1e-3
    assert 0.0 in found["x"].values
