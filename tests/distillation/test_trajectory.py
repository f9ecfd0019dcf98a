import numpy as np
import pytest
import torch

from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill, train
from kdlandscape.landscape.trajectory import travel
from tests.distillation.test_training import problem, seeded

RECIPE = Recipe(epochs=3, batch_size=16, lr=0.1)  # 4 steps an epoch, 12 in all


def test_weights_are_kept_at_a_stride_with_both_ends_and_without_changing_the_training():
    network, thetas, inputs, targets = problem()
    plain = train(network, thetas, inputs, targets, RECIPE, generator=seeded())
    kept = train(network, thetas, inputs, targets, RECIPE, generator=seeded(), record_every=5)
    assert kept.steps == (0, 5, 10, 12)
    assert kept.trajectory.shape == (4, *thetas.shape)
    assert torch.equal(kept.trajectory[0], thetas)
    assert torch.equal(kept.trajectory[-1], plain.thetas)
    assert plain.trajectory is None
    every = train(network, thetas, inputs, targets, RECIPE, generator=seeded(), record_every=1)
    assert torch.equal(every.trajectory[[0, 5, 10, 12]], kept.trajectory)


def test_students_leave_a_trajectory_too():
    network, thetas, inputs, _ = problem()
    trained = distill(network, thetas, thetas.roll(1, 0), inputs, RECIPE, generator=seeded(), record_every=100)
    assert trained.steps == (0, 12)
    with pytest.raises(ValueError, match="record_every of at least 1 step, got 0"):
        distill(network, thetas, thetas, inputs, RECIPE, generator=seeded(), record_every=0)


def test_distance_and_direction_of_travel_on_a_known_way():
    target = torch.tensor([4.0, 0.0], dtype=torch.float64)
    straight = torch.tensor([[0.0, 0], [1, 0], [3, 0]])
    corner = torch.tensor([[0.0, 0], [0, 3], [4, 3]])
    way = torch.stack([straight, corner], 1).double()
    found = travel(way, target, steps=[0, 5, 9], dim="student", coords=["straight", "corner"])
    assert found["distance"].dims == ("step", "student")
    np.testing.assert_allclose(found["distance"].sel(student="straight"), [4, 3, 1])
    np.testing.assert_allclose(found["distance_travelled"].sel(student="corner"), [0, 3, 5])
    np.testing.assert_allclose(found["path_length"].sel(student="corner"), [0, 3, 7])
    np.testing.assert_allclose(found["heading"].sel(student="straight"), [np.nan, 1, 1])
    np.testing.assert_allclose(found["heading"].sel(student="corner"), [np.nan, 0, 0.8])


def test_a_trajectory_without_its_steps_is_refused():
    with pytest.raises(ValueError, match=r"one step for each of S points; got shape \(3, 2, 4\) and 2 steps"):
        travel(torch.zeros(3, 2, 4), torch.zeros(4), steps=[0, 1])
