"""A problem of the user's own: from a file of a few lines and one command to a cube, figures and a report."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import papermill
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from tests.site.executions import NOTEBOOKS
from tests.site.sizes import SMALL

pytest.importorskip("transformers")

#: An encoder of `transformers` that reads the rows of a digit as words: 17 levels of grey, and 0 for padding.
ENCODER = """\
import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification

import kdlandscape as kdl


def make(width=4, count=40):
    grey, digit = load_digits(return_X_y=True)
    tokens, labels = torch.tensor(grey)[:, 24:32].long() + 1, torch.tensor(digit)
    config = BertConfig(
        vocab_size=18, hidden_size=width, num_hidden_layers=1, num_attention_heads=2, intermediate_size=width,
        max_position_embeddings=8, num_labels=10, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )
    return kdl.Problem(
        network=lambda: BertForSequenceClassification(config),
        train=({"input_ids": tokens[:count]}, labels[:count]),
        test=({"input_ids": tokens[-60:]}, labels[-60:]),
    )
"""
CONVOLUTION = """\
from torch import nn

import kdlandscape as kdl
from kdlandscape.distillation import data


def make(width=4, count=60):
    d = data.load("digits", num_train=count)
    network = lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width, 10),
    )
    return kdl.Problem(network=network, train=(d.train_inputs, d.train_targets), test=(d.test_inputs, d.test_targets))
"""
OURS = ("num_train", "num_fresh", "width", "augmentation")


def test_one_command_runs_the_demo_study_on_a_users_problem_of_a_few_lines(tmp_path):
    assert len(ENCODER.splitlines()) <= 25
    (tmp_path / "mine.py").write_text(ENCODER)
    small = {"teacher_epochs": 1, "student_epochs": 1, "path_points": 3, "plane_points": 3, "num_eigenvalues": 1}
    settings = [part for name, value in small.items() for part in ("-p", f"{name}={value}")]
    command = [sys.executable, "-c", "from kdlandscape.cli import main; main()",
               "run", "demo", "--study", "mine", "--root", "studies", "-p", "problem=mine.py:make", *settings,
               "-g", "seed=0", "-g", "lr_policy=constant", "-g", "init_lambda=0.0,1.0",
               "-g", "options.width=2"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "studies" / "mine"
    with kdl.open_cube(folder) as cube:
        assert bool(cube["agreement"].notnull().all())
        assert float(cube["distance_end"].sel(init_lambda=1.0).max()) == 0
        assert float(cube["agreement"].sel(init_lambda=1.0).min()) == 1
        assert "nat" in cube["plane_loss"].attrs["units"]
        assert cube["options.width"].values.tolist() == [2]
        assert {"data_set", "network"}.isdisjoint(cube.dims)
    assert list(folder.glob("figures/*"))


@pytest.mark.parametrize("name", ["basins.ipynb", "distill.ipynb", "spectra.ipynb"])
def test_the_other_studies_run_on_a_users_network_with_running_statistics(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "mine.py"
    path.write_text(CONVOLUTION)
    small = {key: value for key, value in SMALL[name].items() if key not in OURS}
    papermill.execute_notebook(
        NOTEBOOKS / name, tmp_path / name, {**small, "problem": f"{path}:make", "options": {"width": 3}},
        kernel_name="python3", progress_bar=False, cwd=tmp_path,
    )  # fmt: skip


def test_a_network_with_running_statistics_is_studied_as_plain_torch_computes_it(tmp_path):
    (path := tmp_path / "mine.py").write_text(CONVOLUTION)
    p = kdl.problem(f"{path}:make")
    x, y = p.train
    recipe = kdl.Recipe(epochs=2, batch_size=20, lr=0.05)
    with pytest.warns(UserWarning, match="one after another"):
        trained = kdl.train(p.model, p.initial([0, 1]), x, y, recipe, generator=torch.Generator().manual_seed(0))
    a, b = trained.states
    objective = kdl.Objective(p.model, nn.CrossEntropyLoss(), p.train)
    path_loss = kdl.interpolate(objective, a, b, t=[0.0, 0.5, 1.0], bn="recalibrate")["loss"]
    between = p.network()
    nn.utils.vector_to_parameters((trained.thetas[0] + trained.thetas[1]) / 2, between.parameters())
    for layer in between:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches: here there is one
    with torch.no_grad():
        between.train()(x)
        expected = float(nn.functional.cross_entropy(between.eval()(x), y))
    assert float(path_loss[1]) == pytest.approx(expected, rel=1e-4)
    plain = p.network()
    plain.load_state_dict(a)
    value = nn.functional.cross_entropy(plain.eval()(x), y)
    assert float(objective.value(a)) == pytest.approx(float(value.detach()), rel=1e-5)
    slopes = torch.autograd.grad(value, list(plain.parameters()), create_graph=True)
    flat = torch.cat([s.reshape(-1) for s in slopes])
    v = torch.randn(len(flat), generator=torch.Generator().manual_seed(0))
    product = torch.cat([s.reshape(-1) for s in torch.autograd.grad(flat @ v, list(plain.parameters()))])
    np.testing.assert_allclose(kdl.hessian(objective, a) @ v, product, rtol=1e-3, atol=1e-4)
    logits = kdl.distillation.logits(p.model, trained, x)
    agreement = float((logits[0].argmax(-1) == logits[1].argmax(-1)).double().mean())
    assert float(kdl.fidelity(logits[0], logits[1])["agreement"]) == pytest.approx(agreement)


def test_a_mistake_in_a_problem_stops_the_study_with_its_line(tmp_path):
    (tmp_path / "mine.py").write_text(ENCODER.replace("count=40", "count=40, rows=missing"))
    with pytest.raises(kdl.distillation.ProblemError, match=r"NameError: name 'missing' .*\(mine\.py"):
        kdl.problem(f"{Path(tmp_path, 'mine.py')}:make")
