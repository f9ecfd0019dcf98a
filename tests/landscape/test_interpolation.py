import numpy as np
import pytest
import torch

from kdlandscape.landscape.batch import along
from kdlandscape.landscape.interpolation import barrier, interpolate, mix
from kdlandscape.landscape.objective import Objective
from tests import dense
from tests.cases import CASES, IDS


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_ends_of_a_path_are_the_directly_evaluated_losses_and_its_middle_the_reference(case):
    module, loss, data = case.make()
    objective = Objective(module, loss, data)
    start = dense.theta_of(module)
    end = start + torch.randn(start.shape, dtype=start.dtype, generator=torch.Generator().manual_seed(3))
    path = interpolate(objective, start, end, t=5)
    assert path["loss"].values[0] == objective.value(start).item()
    assert path["loss"].values[-1] == objective.value(end).item()
    for point, value in zip(path["t"].values, path["loss"].values, strict=True):
        expected = dense.value(module, loss, data, (1 - point) * start + point * end).item()
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)


def objective_and_two():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    other = torch.randn(objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return objective, objective.theta, other


def test_the_barrier_from_a_network_to_itself_is_zero():
    objective, theta, _ = objective_and_two()
    assert barrier(interpolate(objective, theta, theta, t=7)).item() == pytest.approx(0, abs=1e-14)


def test_the_barrier_is_the_highest_point_over_the_chord_and_never_negative():
    objective, a, b = objective_and_two()
    path = interpolate(objective, a, b, t=21)
    t, loss = path["t"].values, path["loss"].values
    height = barrier(path)
    assert height.item() == pytest.approx(max(loss - (1 - t) * loss[0] - t * loss[-1]))
    assert height.attrs["units"] == "nat"
    bowl = path.assign(loss=("t", (path["t"].values - 0.5) ** 2))
    assert barrier(bowl).item() == 0


def test_a_barrier_with_a_nan_on_the_path_is_nan():
    objective, a, b = objective_and_two()
    path = interpolate(objective, a, b, t=5)
    path["loss"][2] = np.nan
    assert np.isnan(barrier(path).item())


def test_a_barrier_needs_both_ends():
    objective, a, b = objective_and_two()
    with pytest.raises(ValueError, match=r"from t = 0 to t = 1, got t from 0.1 to 1.0"):
        barrier(interpolate(objective, a, b, t=[0.1, 0.5, 1.0]))


@pytest.mark.parametrize("t", [1, [0.0, 0.0, 1.0], [0.0, float("nan")], [[0.0, 1.0]]])
def test_path_points_that_do_not_increase_are_refused(t):
    objective, a, b = objective_and_two()
    with pytest.raises(ValueError, match="at least 2 increasing finite points"):
        interpolate(objective, a, b, t=t)


def test_mixing_is_exact_at_both_ends():
    a, b = torch.rand(2, 1000)
    ends = mix(a, b, torch.tensor([0.0, 1.0]))
    assert torch.equal(ends[0], a)
    assert torch.equal(ends[1], b)


def test_a_probe_is_stacked_along_a_named_axis():
    objective, a, b = objective_and_two()
    paths = along("init_lambda", [0.0, 0.5], lambda start: interpolate(objective, start, b, t=3), torch.stack([a, b]))
    assert paths["loss"].dims == ("init_lambda", "t")
    assert paths["loss"].sel(init_lambda=0.5, t=1.0) == objective.value(b).item()
    with pytest.raises(ValueError, match="one row of theta for each of the 3 coordinates of 'init_lambda'"):
        along("init_lambda", [0, 1, 2], lambda start: None, torch.stack([a, b]))
