"""The recorder changes nothing, survives what kills a training, and its trajectory opens."""

import os
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes.seals import DamagedFileError
from kdlandscape.landscape import AccelerateRecorder, lightning_recorder, stability_threshold, trainer_recorder
from tests.dense import hessian, theta_of
from tests.processes import wait_until


def data(count=96):
    inputs, targets = load_digits(return_X_y=True)
    return torch.tensor(inputs[:count]).float() / 16, torch.tensor(targets[:count])


def network(seed=0):
    """Return a network that keeps statistics and draws random numbers, so that a recorder could disturb it."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 10))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def loop(model, folder=None, *, every=5, epochs=3, start=0, kill=lambda taken: None):
    x, y = data()
    optimizer = sgd(model)
    torch.manual_seed(1)
    recorder = kdl.Recorder(folder, model, every=every, optimizer=optimizer, start=start) if folder else None
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            if recorder is not None:
                recorder.step(loss)
                kill(recorder.taken)
    return recorder


def same(first, second):
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


def test_a_plain_loop_gives_the_same_bits_and_gradients_and_random_state_with_the_recorder(tmp_path):
    bare, recorded = network(), network()
    loop(bare)
    state = torch.get_rng_state()
    recorder = loop(recorded, tmp_path / "way")
    assert same(bare, recorded)
    assert torch.equal(torch.get_rng_state(), state)
    assert recorded.training
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(bare.parameters(), recorded.parameters(), strict=True))
    cost = recorder.finish()
    files = sorted((tmp_path / "way").iterdir())
    assert [int(file.stem) for file in files] == [0, 5, 10, 15, 18]
    assert cost.snapshots == 5
    assert cost.bytes == sum(file.stat().st_size for file in files)
    assert cost.seconds > 0
    assert 0 < cost.share < 1
    assert str(cost).startswith("5 snapshots of 0.0")


def test_the_trajectory_holds_weights_statistics_losses_and_rates_and_each_file_is_a_checkpoint(tmp_path):
    model = network()
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loop(model, tmp_path).finish()
    opened = kdl.open_trajectory(tmp_path)
    assert opened.facts["step"].values.tolist() == [0, 5, 10, 15, 18]
    for state, expected in ((opened.states[0], first), (opened.states[-1], model.state_dict())):
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)
    again = network(7)
    again.load_state_dict(torch.load(tmp_path / "0000000018.pt", weights_only=True)["state_dict"])
    assert same(again, model)
    assert np.isnan(opened.facts["training_loss"][[0, -1]]).all()
    assert (opened.facts["training_loss"][1:-1] > 0).all()
    np.testing.assert_allclose(opened.facts["learning_rate"], 0.1)
    np.testing.assert_allclose(opened.facts["stability_threshold"], 2 * 1.9 / 0.1)
    part = kdl.open_trajectory(tmp_path, steps=[15, 0])
    assert part.facts["step"].values.tolist() == [0, 15]
    with pytest.raises(FileNotFoundError, match=r"one of the 5 recorded steps 0, 5, 10, 15, 18, got 7"):
        kdl.open_trajectory(tmp_path, steps=[7])


def test_wrappers_tied_weights_and_half_precision_are_recorded_under_the_networks_own_names(tmp_path):
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)).to(torch.bfloat16)
    model[1].weight = model[0].weight
    kdl.Recorder(tmp_path, nn.DataParallel(model))
    state = kdl.open_trajectory(tmp_path).states[0]
    assert list(state) == ["0.weight", "1.weight"]
    assert torch.equal(state["1.weight"], model[0].weight)
    assert state["0.weight"].dtype == torch.bfloat16


def test_a_training_that_is_killed_at_any_time_leaves_a_trajectory_that_opens(tmp_path):
    waits = torch.rand(6, generator=torch.Generator().manual_seed(0)).tolist()
    for number, wait in enumerate(waits):
        folder = tmp_path / str(number)
        child = os.fork()
        if not child:
            try:
                loop(network(), folder, every=1, epochs=10**6)
            finally:
                os._exit(1)
        wait_until(lambda folder=folder: len(list(folder.glob("*.pt"))) > 2)
        time.sleep(0.2 * wait)
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        opened = kdl.open_trajectory(folder)
        steps = opened.facts["step"].values.tolist()
        assert steps == list(range(len(steps)))
        assert all(torch.isfinite(state["0.weight"]).all() for state in opened.states)


def test_a_training_goes_on_with_its_trajectory_and_another_one_is_refused(tmp_path):
    whole = network()
    loop(whole, tmp_path / "whole", epochs=2).finish()
    with pytest.raises(ValueError, match=r"an empty folder for a new trajectory.* up to step 12: give another folder"):
        kdl.Recorder(tmp_path / "whole", whole)
    kdl.Recorder(tmp_path / "whole", whole, start=5)
    assert kdl.open_trajectory(tmp_path / "whole").facts["step"].values.tolist() == [0, 5]
    with pytest.raises(ValueError, match="every of at least 1 optimizer step, got 0"):
        kdl.Recorder(tmp_path / "new", whole, every=0)


def test_a_damaged_snapshot_and_an_empty_folder_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the snapshots of a Recorder"):
        kdl.open_trajectory(tmp_path)
    loop(network(), tmp_path)
    path = tmp_path / "0000000005.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match=r"0000000005.pt: .*; remove it to open the others"):
        kdl.open_trajectory(tmp_path)


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 2.0}]
)
def test_the_threshold_is_where_steps_on_a_quadratic_start_to_diverge(settings):
    bound = stability_threshold({"name": "SGD", "lr": 0.05, **settings})
    for share, converges in ((0.98, True), (1.02, False)):
        theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([theta], lr=0.05, **settings)
        for _ in range(500):
            optimizer.zero_grad()
            (share * bound / 2 * theta**2).sum().backward()
            optimizer.step()
        assert bool(theta.abs() < 1) == converges
    assert stability_threshold({"name": "Adam", "lr": 0.05}) is None


def test_the_training_path_agrees_with_independent_float64_computations(tmp_path):
    x, y = data(40)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 10)).double()
    x = x.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    recorder = kdl.Recorder(tmp_path, model, every=4, optimizer=optimizer)
    thetas = [theta_of(model)]
    for step in range(12):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        recorder.step()
        if step % 4 == 3:
            thetas.append(theta_of(model))
    objective = kdl.Objective(model, nn.CrossEntropyLoss(), (x, y))
    found = kdl.training_path(objective, kdl.open_trajectory(tmp_path), tol=1e-10, t=5, plane_points=5)
    rows = torch.stack(thetas)
    losses = [float(objective.value(row)) for row in rows]
    np.testing.assert_allclose(found["loss"], losses)
    np.testing.assert_allclose(found["distance"], (rows - rows[-1]).norm(dim=1))
    for row, value in zip(rows, found["eigenvalues"].isel(eigenvalue=0).values, strict=True):
        dense = hessian(model, nn.functional.cross_entropy, (x, y), row)
        assert value == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-8)
    for row, height in zip(rows, found["barrier"].values, strict=True):
        path = [float(objective.value(torch.lerp(row, rows[-1], s / 4))) for s in range(5)]
        chord = [path[0] + s / 4 * (path[-1] - path[0]) for s in range(5)]
        assert height == pytest.approx(max(a - b for a, b in zip(path, chord, strict=True)), abs=1e-12)
    _, lengths, axes = torch.linalg.svd(rows - rows[-1], full_matrices=False)
    np.testing.assert_allclose(np.abs(found["points"]), ((rows - rows[-1]) @ axes[:2].T).abs(), atol=1e-10)
    np.testing.assert_allclose(found["explained"], (lengths**2 / (lengths**2).sum())[:2])
    np.testing.assert_allclose(found["stability_threshold"], 4.0)
    middle = found["plane_loss"].isel(x=2, y=2)
    at = {dim: float(middle[dim]) for dim in ("x", "y")}
    signs = torch.sign((rows[0] - rows[-1]) @ axes[:2].T)
    theta = rows[-1] + (torch.tensor([at["x"], at["y"]]).double() * signs) @ axes[:2]
    assert float(middle) == pytest.approx(float(objective.value(theta)))
    other = kdl.Objective(nn.Linear(64, 10).double(), nn.CrossEntropyLoss(), (x, y))
    with pytest.raises(kdl.landscape.SpaceError, match="parameter 'weight' of shape"):
        kdl.training_path(other, kdl.open_trajectory(tmp_path))


def test_checkpoints_of_a_network_with_running_statistics_keep_their_own(tmp_path):
    model = network()
    loop(model, tmp_path, epochs=1).finish()
    opened = kdl.open_trajectory(tmp_path)
    objective = kdl.Objective(model, nn.CrossEntropyLoss(), data())
    found = kdl.training_path(objective, opened, num_eigenvalues=0, t=3, plane_points=3)
    assert found.attrs["bn"] == "recalibrate"
    for state, value in zip(opened.states, found["loss"].values, strict=True):
        plain = network()
        plain.load_state_dict(state)
        x, y = data()
        assert value == pytest.approx(float(nn.functional.cross_entropy(plain.eval()(x), y).detach()), rel=1e-5)


def test_lightning_gives_the_same_bits_with_the_recorder(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl = pytest.importorskip("pytorch_lightning")

        class Module(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = network()

            def training_step(self, batch, index):
                return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

            def configure_optimizers(self):
                return sgd(self)

        def fit(callbacks):
            module = Module()
            pl.seed_everything(1, verbose=False)
            loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), 16, shuffle=True)
            options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            pl.Trainer(max_epochs=3, accelerator="cpu", enable_model_summary=False, callbacks=callbacks, **options).fit(
                module, loader
            )
            return module

        bare, recorded = fit([]), fit([lightning_recorder(tmp_path, every=5)])
    assert same(bare, recorded)
    opened = kdl.open_trajectory(tmp_path)
    assert opened.facts["step"].values.tolist() == [0, 5, 10, 15, 18]
    assert (opened.facts["training_loss"][1:-1] > 0).all()
    assert torch.equal(opened.states[-1]["net.0.weight"], bare.net[0].weight)
    np.testing.assert_allclose(opened.facts["stability_threshold"], 38.0)


class Labelled(nn.Module):
    """A network as the trainer of transformers takes one: its output has a loss."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_the_trainer_of_transformers_gives_the_same_bits_with_the_recorder(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    rows = [{"x": x, "labels": y} for x, y in zip(*data(), strict=True)]

    def fit(callbacks):
        model = Labelled()
        options = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "seed": 1}
        arguments = transformers.TrainingArguments(
            str(tmp_path / "out"), num_train_epochs=3, per_device_train_batch_size=16, logging_strategy="no", **options
        )
        transformers.Trainer(model, arguments, train_dataset=rows, callbacks=callbacks).train()
        return model

    bare, recorded = fit([]), fit([trainer_recorder(tmp_path / "way", every=5)])
    assert same(bare, recorded)
    opened = kdl.open_trajectory(tmp_path / "way")
    assert opened.facts["step"].values.tolist() == [0, 5, 10, 15, 18]
    assert torch.equal(opened.states[-1]["net.0.weight"], bare.net[0].weight)
    assert (opened.facts["learning_rate"] < 1e-4).all()
    assert np.isnan(opened.facts["stability_threshold"]).all()  # of AdamW


def test_accelerate_counts_the_steps_that_were_taken_and_gives_the_same_bits(tmp_path):
    accelerate = pytest.importorskip("accelerate")

    def fit(folder=None):
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = network()
        torch.manual_seed(1)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), 16)
        prepared, optimizer, loader = accelerator.prepare(model, sgd(model), loader)
        recorder = AccelerateRecorder(accelerator, folder, prepared, optimizer) if folder else None
        for x, y in loader:
            with accelerator.accumulate(prepared):
                loss = nn.functional.cross_entropy(prepared(x), y)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                if recorder is not None:
                    recorder.step(loss)
        return model

    assert same(fit(), fit(tmp_path))
    opened = kdl.open_trajectory(tmp_path)
    assert opened.facts["step"].values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(opened.facts["stability_threshold"], 38.0)
