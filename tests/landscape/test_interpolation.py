import copy

import numpy as np
import pytest
import torch

from kdlandscape.cubes.variables import dataset
from kdlandscape.distillation import networks
from kdlandscape.landscape.many_networks import along
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from kdlandscape.landscape.paths.barriers import barrier_matrix
from kdlandscape.landscape.paths.interpolation import _path, barrier, interpolate, interpolate_blocks, mix
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


def test_a_spherical_path_turns_at_a_constant_rate_and_keeps_equal_lengths():
    objective, a, b = objective_and_two()
    b = b * a.norm() / b.norm()
    shares, tangent = _path(a, b, "spherical")

    def point(t):
        return shares(t)[0] * a + shares(t)[1] * b

    angle = torch.acos(a @ b / a.norm() ** 2)
    for t in (0.0, 0.3, 1.0):
        assert point(t).norm() == pytest.approx(a.norm().item())
        assert torch.acos((a @ point(t) / a.norm() ** 2).clamp(-1, 1)).item() == pytest.approx(t * angle.item())
        step = (point(t + 1e-6) - point(t - 1e-6)) / 2e-6
        torch.testing.assert_close(tangent(t), step / step.norm(), rtol=1e-6, atol=1e-8)
    path = interpolate(objective, a, b, t=5, kind="spherical")
    assert path["loss"].values[0] == objective.value(a).item()
    assert path["loss"].values[-1] == objective.value(b).item()
    assert path["loss"].values[2] == pytest.approx(objective.value(point(0.5)).item())


def test_a_spherical_path_between_opposite_ends_and_an_unknown_kind_are_refused():
    objective, a, b = objective_and_two()
    with pytest.raises(ValueError, match="opposite: expected an angle below 180 degrees"):
        interpolate(objective, a, -2 * a, kind="spherical")
    with pytest.raises(ValueError, match="kind to be one of linear, spherical; got 'curved'"):
        interpolate(objective, a, b, kind="curved")
    straight = interpolate(objective, a, 2 * a, kind="spherical", t=3)
    np.testing.assert_allclose(straight["loss"], interpolate(objective, a, 2 * a, t=3)["loss"])


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_the_curvature_along_a_path_is_that_of_the_dense_hessian(kind):
    module, loss, data = next(case for case in CASES if case.name == "tanh").make()
    objective = Objective(module, loss, data)
    a, b = objective.theta, objective.theta.flip(0)
    path = interpolate(objective, a, b, t=3, kind=kind, curvature=True)
    shares, tangent = _path(a, b, kind)
    for t, value in zip(path["t"].values, path["path_curvature"].values, strict=True):
        v = tangent(t)
        assert v.norm() == pytest.approx(1)
        assert value == pytest.approx(
            (v @ dense.hessian(module, loss, data, shares(t)[0] * a + shares(t)[1] * b) @ v).item(), rel=1e-9
        )


def test_one_block_moves_and_the_rest_is_held():
    objective, a, b = objective_and_two()
    paths = interpolate_blocks(objective, a, b, t=3)
    assert paths["block"].values.tolist() == ["0.*", "2.*", "4.*"]
    for block in ("0", "2", "4"):
        parts = zip(objective.unravel(a).items(), objective.unravel(b).values(), strict=True)
        hybrid = {name: end if name.startswith(block) else start for (name, start), end in parts}
        assert paths["loss"].sel(block=f"{block}.*").values[0] == objective.value(a).item()
        assert paths["loss"].sel(block=f"{block}.*").values[-1] == objective.value(hybrid).item()
    every = interpolate(objective, a, b, t=3, params=["0.*", "[24].*"])
    np.testing.assert_array_equal(every["loss"], interpolate(objective, a, b, t=3)["loss"])
    with pytest.raises(ValueError, match=r"'7\.\*' matches no parameter: expected a glob"):
        interpolate(objective, a, b, params="7.*")


def test_every_barrier_carries_its_definition():
    objective, a, b = objective_and_two()
    path = interpolate(objective, a, b, t=5)
    known = path.assign(loss=("t", [1.0, 4.0, 4.5, 2.0, 3.0]))
    assert barrier(known).item() == pytest.approx(4.0 - 1.5)
    assert barrier(known).attrs["definition"].startswith("chord: max over t of loss - ((1 - t)")
    assert barrier(known, definition="end").item() == pytest.approx(4.5 - 3.0)
    assert barrier(known, definition="end").attrs["definition"].startswith("end: ")
    assert dataset({"barrier": barrier(known)})["barrier"].attrs["definition"] == barrier(known).attrs["definition"]
    slope = path.assign(loss=("t", [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert [barrier(slope, definition=name).item() for name in ("chord", "end")] == [0.0, 0.0]
    with pytest.raises(ValueError, match="definition to be one of chord, end; got 'mean'"):
        barrier(path, definition="mean")


def test_a_barrier_matrix_holds_the_barriers_of_all_pairs():
    objective, a, b = objective_and_two()
    matrix = barrier_matrix(objective, [a, b, a], ["a", "b", "again"], t=5, definition="end")
    expected = barrier(interpolate(objective, a, b, t=5), definition="end").item()
    assert matrix["barrier"].sel(first="a", second="b") == matrix["barrier"].sel(first="b", second="a") == expected
    assert matrix["barrier"].sel(first="a", second="again").item() == pytest.approx(0, abs=1e-14)
    assert (np.diag(matrix["barrier"]) == 0).all()
    assert matrix["barrier"].attrs["definition"].startswith("end: ")
    assert matrix["distance"].sel(first="a", second="b") == (a - b).norm().item()
    with pytest.raises(ValueError, match="one name for each of 2 networks, got 1"):
        barrier_matrix(objective, [a, b], ["a"])


def test_a_correction_acts_inside_the_path_and_not_at_its_ends():
    objective, a, b = objective_and_two()
    seen = []

    def back_to_start(theta, t):
        seen.append(t)
        return a

    path = interpolate(objective, a, b, t=4, correct=back_to_start)
    assert seen == pytest.approx([1 / 3, 2 / 3])
    start, end = objective.value(a).item(), objective.value(b).item()
    assert path["loss"].values.tolist() == [start, start, start, end]
    assert path.attrs["correction"] == "back_to_start"


def test_networks_that_do_not_fit_are_refused_by_their_first_difference():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    state = module.state_dict()
    with pytest.raises(SpaceError, match=r"'2\.weight' of shape \(5, 5\) is missing"):
        interpolate(objective, module, {key: value for key, value in state.items() if key != "2.weight"})
    with pytest.raises(SpaceError, match=r"'0\.weight' differs: expected shape \(5, 4\), got \(6, 4\)"):
        interpolate(objective, module, networks.mlp(4, 3, width=6).double())
    with pytest.raises(SpaceError, match=r"'2\.bias' differs: torch.float64 at the start, torch.float32 at the end"):
        interpolate(objective, module, state | {"2.bias": state["2.bias"].float()})
    with pytest.raises(SpaceError, match=r"'0\.bias' differs: expected floating point, got torch.int64"):
        interpolate(objective, module, state | {"0.bias": state["0.bias"].long()})


def test_buffers_are_never_interpolated():
    module, loss, data = next(case for case in CASES if case.name == "batch_norm").make()
    objective = Objective(module, loss, data)
    counted = {key: value.clone() for key, value in module.state_dict().items()}
    counted["1.num_batches_tracked"] += 1000
    path = interpolate(objective, module, counted, t=3)
    assert np.unique(path["loss"]).tolist() == [objective.value(module).item()]
    assert "running_statistics" not in path.attrs


def test_running_statistics_of_two_networks_move_from_end_to_end():
    module, loss, data = next(case for case in CASES if case.name == "batch_norm").make()
    objective = Objective(module, loss, data)
    other = {key: value.clone() for key, value in module.state_dict().items()}
    other["1.running_mean"] += 1.0
    other["1.running_var"] *= 3.0
    path = interpolate(objective, module, other, t=3, curvature=True)
    for t, value in zip(path["t"].values, path["loss"].values, strict=True):
        one = copy.deepcopy(module)
        one.load_state_dict({key: (1 - t) * x + t * other[key] for key, x in module.state_dict().items()})
        with torch.no_grad():
            assert value == pytest.approx(loss(one.eval()(data[0]), data[1]).item(), rel=1e-12)
    assert path["loss"][-1] == objective.value(other)
    assert path.attrs["running_statistics"].startswith("interpolated linearly with t")
    assert interpolate(objective, module, objective.ravel(other), t=3)["loss"].notnull().all()
    assert interpolate(objective, module, other, t=3, bn="recalibrate").attrs["bn"] == "recalibrate"
    with pytest.raises(ValueError, match=r"'1\.running_mean' differs between the networks"):
        interpolate(objective, module, other, params="4.*")


@pytest.mark.parametrize("name", ["batch_norm", "residual_batch_norm"])
def test_running_statistics_are_re_estimated_at_every_point_of_a_path(name):
    module, loss, (inputs, targets) = next(case for case in CASES if case.name == name).make()
    objective = Objective(module, loss, (inputs, targets))
    start = objective.theta
    end = start + torch.randn(start.shape, dtype=start.dtype, generator=torch.Generator().manual_seed(3))
    path = interpolate(objective, start, end, t=3, bn="recalibrate")
    for t, value in zip(path["t"].values, path["loss"].values, strict=True):
        one = dense.loaded(module, (1 - t) * start + t * end)
        for layer in one.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.train()
                layer.momentum = 1.0
        with torch.no_grad():
            one(inputs)
            assert value == pytest.approx(loss(one.eval()(inputs), targets).item(), rel=1e-12)
    assert objective.bn == "frozen"
