import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from kdlandscape.landscape.curvature.curvatures import hessian
from kdlandscape.landscape.directions import random_directions
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.reduction import accuracy, error
from kdlandscape.landscape.slices import slice_grid, slice_line, slice_plane
from tests import dense
from tests.cases import CASES, DEVICES, IDS, N
from tests.snapshots import snapshot, unchanged

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def made(name="mlp", **settings):
    module, loss, data = CASES[IDS.index(name)].make()
    return module, loss, data, Objective(module, loss, data, **settings)


def two(objective, scale=0.1):
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(2, objective.dim, dtype=torch.float64, generator=generator)
    return scale * rows.to(objective.device)


class Position(nn.Module):
    """A network whose outputs are its own two parameters."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, inputs):
        return self.position + 0 * inputs


def mapped(loss=lambda z, y: 1 + 0 * z[:, 0], **metrics):
    inputs = torch.zeros(4, 2, dtype=torch.float64)
    return Objective(Position(), loss, (inputs, torch.zeros(4)), metrics=metrics)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [None, 1, 7, 22])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_grid_point_equals_the_dense_reference_whatever_the_batch_size(case, batch_size, device):
    module, loss, data = case.make(device)
    objective = Objective(module, loss, data, batch_size=batch_size)
    directions = two(objective)
    plane = slice_plane(objective, module, directions, x=[-1, 0, 2], y=[-0.5, 0.25, 0.5, 1])
    theta = dense.theta_of(module)
    for y in plane.y.values:
        for x in plane.x.values:
            expected = dense.value(module, loss, data, theta + x * directions[0] + y * directions[1])
            np.testing.assert_allclose(plane["loss"].sel(x=x, y=y), expected.cpu(), **EXACT)


def test_the_value_at_a_point_belongs_to_its_coordinates_and_the_axes_have_names():
    objective = mapped(x=lambda z, y: z[:, 0], y=lambda z, y: z[:, 1])
    renamed = slice_grid(objective, objective.theta, torch.eye(2), {"a": np.arange(-3, 4.0), "b": [-1, 0, 2, 5]})
    assert renamed["x"].dims == ("b", "a")
    assert renamed["x"].shape == (4, 7)
    np.testing.assert_array_equal(renamed["x"], np.broadcast_to(renamed.a, (4, 7)))
    np.testing.assert_array_equal(renamed["y"], np.broadcast_to(renamed.b.values[:, None], (4, 7)))


@pytest.mark.parametrize("count", [1, 2, 20, 21])
def test_the_centre_is_always_sampled_exactly(count):
    module, _, _, objective = made()
    line = slice_line(objective, module, two(objective)[0], x=count, span=0.3)
    assert (
        float(line["loss"].sel(x=0.0)) == float(objective.value(module)) == float(line.marked_loss.sel(mark="center"))
    )


def test_end_points_and_marks_are_sampled_exactly_and_coordinates_are_taken_literally():
    module, _, _, objective = made()
    other = module.state_dict() | {"0.bias": torch.ones(5, dtype=torch.float64)}
    start, end = objective.ravel(module), objective.ravel(other)
    line = slice_line(objective, start, end - start, x=7, span=(0, 1), marks={"third": [1 / 3]})
    np.testing.assert_allclose(line["loss"].values[[0, -1]], [objective.value(start), objective.value(end)], **EXACT)
    third = objective.value(start + (end - start) / 3)
    np.testing.assert_allclose(line.marked_loss.sel(mark="third"), third, **EXACT)
    assert float(line.marked_x.sel(mark="third")) == 1 / 3
    assert slice_line(objective, start, end - start, x=[0.1, 0.4]).x.values.tolist() == [0.1, 0.4]


@pytest.mark.parametrize("bn", ["frozen", "recalibrate", "batch"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_module_and_the_random_state_are_bit_identical_afterwards_also_after_an_error(bn, fails):
    module, loss, data, _ = made("batch_norm")
    module.train()
    module[0].weight.requires_grad_(False)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot(module)

    def stop(*args):
        if fails:
            raise RuntimeError("stop")

    objective = Objective(module, loss, DataLoader(TensorDataset(*data), batch_size=9))
    for strategy in (None, Strategy(trace=True, workers=2)) if bn == "frozen" else (None,):
        try:
            slice_plane(objective, module, two(objective), x=5, y=5, bn=bn, strategy=strategy, callback=stop)
        except RuntimeError as raised:
            assert fails and str(raised) == "stop"  # noqa: PT017, PT018
        assert unchanged(before, module)


def test_directions_are_used_as_they_are_and_their_norms_and_cosines_recorded():
    module, _, _, objective = made("tanh")
    pairs = hessian(objective, module).top_eigenpairs(2, vectors=True)
    vectors = torch.as_tensor(pairs["eigenvectors"].values)
    plane = slice_plane(objective, module, vectors, x=[-1e-3, 0, 1e-3], y=[0])
    np.testing.assert_allclose(plane.attrs["direction_norms"], [1, 1], rtol=1e-10)
    assert abs(plane.attrs["direction_cosine"]) < 1e-6
    bend = float((plane["loss"].isel(x=0) - 2 * plane["loss"].isel(x=1) + plane["loss"].isel(x=2)).item()) / 1e-6
    assert bend == pytest.approx(float(pairs["eigenvalues"][0]), rel=1e-3)
    drawn = random_directions(objective, 3, generator=torch.Generator().manual_seed(0))
    cube = slice_grid(objective, module, drawn, {"x": 2, "y": 2, "z": [0, 1]})
    assert cube["loss"].dims == ("z", "y", "x")
    assert cube.attrs["normalize"] == "filter"
    np.testing.assert_allclose(np.reshape(cube.attrs["direction_cosines"], (3, 3)), drawn.cosines, atol=1e-12)


def test_nan_and_inf_are_kept_and_marked_and_a_constant_stays_constant():
    flat = slice_plane(mapped(), torch.zeros(2), torch.eye(2), x=5, y=5)
    assert (flat["loss"] == 1).all()
    assert flat["finite"].all()
    objective = mapped(lambda z, y: (z[:, 0] + 1).log() + 1 / (z[:, 1] - 2) ** 2)
    plane = slice_plane(objective, objective.theta, torch.eye(2), x=[-3, -1, 0, 1], y=[0, 2])
    np.testing.assert_array_equal(np.isnan(plane["loss"].sel(y=0)), [True, False, False, False])
    np.testing.assert_array_equal(plane["loss"].sel(y=0, x=-1), -np.inf)
    np.testing.assert_array_equal(plane["loss"].sel(y=2, x=[0, 1]), [np.inf, np.inf])
    np.testing.assert_array_equal(plane["finite"].sel(y=0), [False, False, True, True])
    assert plane["done"].all()


def counted():
    calls = []
    module, loss, data, _ = made()

    def zero(outputs, targets):
        calls.append(1)
        return -torch.zeros(len(targets), dtype=outputs.dtype)

    return calls, module, Objective(module, loss, data, metrics={"zero": zero, "right": accuracy, "wrong": error})


def test_a_finished_point_is_never_evaluated_again_whatever_its_value(tmp_path):
    calls, module, objective = counted()
    settings = {"x": 9, "y": 9, "resume": tmp_path / "plane.nc", "strategy": Strategy()}
    first = slice_plane(objective, module, two(objective), **settings)
    calls.clear()
    again = slice_plane(objective, module, two(objective), **settings)
    assert len(calls) == 1  # the centre, which shows that it is the same loss
    xr.testing.assert_identical(first["loss"], again["loss"])
    finer = slice_plane(objective, module, two(objective), **settings | {"x": 17})
    assert len(calls) == 2 + 8 * 9
    np.testing.assert_array_equal(finer["loss"].isel(x=slice(None, None, 2)), first["loss"])


def test_a_file_of_another_slice_is_refused(tmp_path):
    module, loss, data, objective = made()
    path = tmp_path / "plane.nc"
    slice_plane(objective, module, two(objective), x=3, y=3, resume=path)
    others = [
        (objective, module, two(objective, 0.2)),
        (objective, objective.theta * 2, two(objective)),
        (Objective(module, loss, (data[0] + 1, data[1])), module, two(objective)),
        (Objective(module, loss, data, metrics={"error": error}), module, two(objective)),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"plane.nc holds a slice of other weights, .* delete the file"):
            slice_plane(*other, x=3, y=3, resume=path)
    twice = Objective(module, lambda z, y: 2 * nn.functional.cross_entropy(z, y), data)
    with pytest.raises(ValueError, match="slice of another loss"):
        slice_plane(twice, module, two(objective), x=3, y=3, resume=path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"plane.nc: expected a file with its own checksum .*; give another path"):
        slice_plane(objective, module, two(objective), x=3, y=3, resume=path)


def test_points_come_coarse_to_fine_from_the_centre_and_a_callback_can_stop():
    module, _, _, objective = made()
    seen = []

    def watch(plane, done, total):
        seen.append((plane, done, total))
        return done < 81

    plane = slice_plane(objective, module, two(objective), x=17, y=17, callback=watch)
    assert float(seen[0][0]["loss"].isel(x=8, y=8)) == pytest.approx(float(objective.value(module)))
    coarse = next(p for p, done, _ in seen if done == 81)
    assert coarse["done"].isel(x=slice(None, None, 2), y=slice(None, None, 2)).all()
    assert 80 <= int(plane["done"].sum()) < 17 * 17
    assert np.isnan(plane["loss"].values[~plane["done"].values]).all()
    assert all(total == 289 for _, _, total in seen)


INTERRUPTED = """
import signal, sys, time, torch
signal.signal(signal.SIGINT, signal.default_int_handler)  # where what started the tests ignores it, so would this
from kdlandscape.landscape.slices import slice_plane
from tests.landscape.test_slices import made, two
def slow(plane, done, total):
    print(done, flush=True)
    if done > 300:
        time.sleep(60)
module, _, _, objective = made()
slice_plane(objective, module, two(objective), x=51, y=51, resume=sys.argv[1], callback=slow)
"""


def test_an_interrupted_plane_of_51_by_51_resumes_with_the_points_it_had(tmp_path):
    path = tmp_path / "plane.nc"
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            done = 0
            while done <= 300:
                done = int(child.stdout.readline())
            child.send_signal(signal.SIGINT)
            assert child.wait(timeout=50) != 0
        finally:
            child.kill()
    with xr.open_dataset(path) as saved:
        assert int(saved["done"].sum()) == done < 51 * 51
        kept = saved["loss"].load()
    assert [entry.name for entry in tmp_path.iterdir()] == ["plane.nc"]  # nothing half-written
    module, _, _, objective = made()
    counts = []
    plane = slice_plane(
        objective, module, two(objective), x=51, y=51, resume=path, callback=lambda p, n, total: counts.append(n)
    )
    assert counts[0] > done  # by one point or by a chunk, as the trial chose
    assert counts[-1] == 51 * 51
    known = np.isfinite(kept.values)
    np.testing.assert_array_equal(plane["loss"].values[known], kept.values[known])
    np.testing.assert_allclose(
        plane["loss"], slice_plane(objective, module, two(objective), x=51, y=51)["loss"], **EXACT
    )


@pytest.mark.parametrize("batch_size", [None, 9])
def test_recalibrated_statistics_are_those_of_update_bn_at_every_point(batch_size):
    module, loss, data, objective = made("batch_norm", batch_size=batch_size)
    line = slice_line(objective, module, two(objective)[0], x=[-2, 0, 1], bn="recalibrate")
    assert line.attrs["bn"] == "recalibrate"
    assert line.attrs["batch_size"] == (batch_size or N)
    for x in line.x.values:
        there = dense.loaded(module, dense.theta_of(module) + x * two(objective)[0])
        if batch_size is None:
            update_bn([data[0]], there)
        else:  # uneven batches: weighted by their number of examples
            there.train()
            there[1].momentum = 1.0
            parts = []
            for rows in data[0].split(batch_size):
                there(rows)
                parts.append((len(rows), there[1].running_mean.clone(), there[1].running_var.clone()))
            there[1].running_mean, there[1].running_var = (sum(p[0] * p[i] for p in parts) / N for i in (1, 2))
        expected = loss(there.eval()(data[0]), data[1]).detach()
        np.testing.assert_allclose(line["loss"].sel(x=x), expected, **EXACT)


def test_batch_statistics_are_those_of_training_mode_and_frozen_ones_those_of_the_module():
    module, loss, data, objective = made("batch_norm")
    values = {bn: slice_line(objective, module, two(objective)[0], x=[1], bn=bn) for bn in ("frozen", "batch")}
    there = dense.loaded(module, dense.theta_of(module) + two(objective)[0])
    for bn, training in (("frozen", False), ("batch", True)):
        expected = loss(there.train(training)(data[0]), data[1]).detach()
        np.testing.assert_allclose(values[bn]["loss"], [expected], **EXACT)
        assert values[bn].attrs["bn"] == bn


def test_all_the_data_are_used_and_their_number_is_recorded():
    module, loss, data = CASES[0].make()
    loader = DataLoader(TensorDataset(*data), batch_size=10)
    line = slice_line(Objective(module, loss, loader), module, torch.zeros(73), x=[0])
    assert line.attrs["num_examples"] == N
    np.testing.assert_allclose(line["loss"], [loss(module(data[0]), data[1]).detach()], **EXACT)


def test_streamed_data_give_the_same_slice(monkeypatch):
    module, loss, data, objective = made()
    expected = slice_plane(objective, module, two(objective), x=4, y=3)["loss"]
    monkeypatch.setattr("kdlandscape.landscape.batches.HOLD_BYTES", 0)
    streamed = Objective(module, loss, DataLoader(TensorDataset(*data), batch_size=5))
    for strategy in (None, Strategy(trace=True, examples=2), Strategy(trace=True, affine=True)):
        plane = slice_plane(streamed, module, two(objective), x=4, y=3, strategy=strategy)
        np.testing.assert_allclose(plane["loss"], expected, **EXACT)


def test_a_span_is_chosen_where_the_loss_grows_by_a_factor():
    objective = mapped(lambda z, y: 1 + z[:, 0] ** 2 + 4 * z[:, 1] ** 2)
    plane = slice_plane(objective, objective.theta, torch.eye(2), x=5, y=5, growth=10)
    assert float(plane.x[-1]) == pytest.approx(3, rel=0.06)
    assert float(plane.y[-1]) == pytest.approx(1.5, rel=0.06)
    assert float(plane["loss"].sel(y=0)[-1]) >= 10
    with pytest.raises(ValueError, match="give a span instead"):
        slice_line(objective, objective.theta, torch.zeros(2), x=5, growth=10)
    with pytest.raises(ValueError, match="growth above 1 of a positive loss"):
        slice_line(objective, objective.theta, torch.ones(2), x=5, growth=0.5)


def test_the_strategy_is_recorded_and_the_result_fits_a_file(tmp_path):
    module, _, _, objective = made()
    plane = slice_plane(
        objective, module, two(objective), x=3, y=4, strategy=Strategy(examples=4, trace=True), progress=True
    )
    assert json.loads(plane.attrs["strategy"]) == {"examples": 4, "trace": True}
    plane.to_netcdf(tmp_path / "plane.nc")
    with xr.open_dataset(tmp_path / "plane.nc") as saved:
        xr.testing.assert_equal(saved.load(), plane)


def test_bad_coordinates_and_directions_are_refused_with_what_was_expected():
    module, _, _, objective = made()
    directions = two(objective)
    with pytest.raises(ValueError, match=r"directions of shape \(2, 73\), got \(1, 73\)"):
        slice_plane(objective, module, directions[:1], x=3, y=3)
    with pytest.raises(ValueError, match=r"tensor \(D, P\), got list"):
        slice_plane(objective, module, [directions], x=3, y=3)
    for x in ([1, 0], [0, np.nan], []):
        with pytest.raises(ValueError, match="expected x to be increasing finite coordinates"):
            slice_plane(objective, module, directions, x=x, y=3)
    with pytest.raises(ValueError, match="at least 1 point of x over an increasing span"):
        slice_plane(objective, module, directions, x=3, y=3, span=(1, -1))
    with pytest.raises(ValueError, match=r"mark 'a' to have coordinates \(x, y\)"):
        slice_plane(objective, module, directions, x=3, y=3, marks={"a": [1]})
