"""Pairs of networks beside plain PyTorch: two convolution networks with running statistics, and two language models."""

import copy
import json
import runpy
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn.functional import cross_entropy

import kdlandscape as kdl
from kdlandscape.cli import main
from kdlandscape.landscape.permutations.rescaling import rescaling
from tests.distillation import plain_comparison

pytest.importorskip("transformers")

#: A problem on real images, and what a plain script makes of it.
IMAGES = """\
from torch import nn

import kdlandscape as kdl
from kdlandscape.distillation import data


def network(width=3):
    return nn.Sequential(
        nn.AvgPool2d(4), nn.Conv2d(1, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10),
    )


def make():
    d = data.load("mnist5k", num_train=90)
    train, test = (d.train_inputs, d.train_targets), (d.test_inputs[:80], d.test_targets[:80])
    return kdl.Problem(network=network, train=train, test=test)


def wide():
    return network(5)
"""
IMAGE_SCRIPT = """\
import sys

import torch
from images import make, network

(x, y), _ = (p := make()).train, p.test
for name, seed, width in (("teacher", 0, 3), ("student", 1, 3), ("control", 2, 3), ("wide", 3, 5)):
    torch.manual_seed(seed)
    net = network(width)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    for _ in range(12):
        for i in range(0, 90, 30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net.train()(x[i : i + 30]), y[i : i + 30]).backward()
            optimizer.step()
    content = {"epoch": 12, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}
    if name == "student":
        content = torch.optim.swa_utils.AveragedModel(net).state_dict()
    torch.save(content, f"{name}.pt")
"""
#: A description in English, a letter a token; positions past the length of a row are padding.
TEXT = """\
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

import kdlandscape as kdl

LENGTH = 12


def rows():
    letters = [ord(c) - 96 if c.isalpha() else 0 for c in load_digits()["DESCR"].lower() if c.isascii()]
    text = torch.tensor(letters[: 40 * LENGTH]).view(-1, LENGTH)
    mask = torch.arange(LENGTH) < 8 + torch.arange(40)[:, None] % 5
    return {"input_ids": text, "attention_mask": mask.long()}, text.where(mask, -100)


def next_letter(logits, letters):
    each = cross_entropy(logits[:, :-1].transpose(1, 2), letters[:, 1:], reduction="none", ignore_index=-100)
    return each.sum(1) / (letters[:, 1:] != -100).sum(1)


def network(layers=1):
    off = dict(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    size = dict(vocab_size=27, n_positions=LENGTH, n_embd=4, n_layer=layers, n_head=2, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(GPT2Config(**size, **off))


def make():
    (inputs, letters) = rows()
    train, test = (({k: v[part] for k, v in inputs.items()}, letters[part]) for part in (slice(28), slice(28, None)))
    return kdl.Problem(network=network, train=train, test=test, loss=next_letter)
"""
TEXT_SCRIPT = """\
import torch
from text import make, network, next_letter
from safetensors.torch import save_model

inputs, letters = make().train
for name, seed in (("one", 0), ("two", 1)):
    torch.manual_seed(seed)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        next_letter(net(**inputs).logits, letters).mean().backward()
        optimizer.step()
    net.save_pretrained(name) if name == "one" else save_model(net, f"{name}.safetensors")
torch.manual_seed(2)
network(2).save_pretrained("deep")
"""
IMAGE_FILES = ("teacher.pt", "student.pt", "wide.pt", "--control", "control.pt", "--network", "wide=images.py:wide")
SMALL = {"path_points": 3, "plane_points": 3, "num_eigenvalues": 2, "num_matvecs": 30, "num_draws": 2}
SMALL |= {"precision": [1.0], "batch_size": 45}


def command(name, *files):
    small = [part for key, value in SMALL.items() for part in ("-p", f"{key}={json.dumps(value)}")]
    return ["kdlandscape", "compare", f"{name}.py:make", *files, "--root", "studies", "--study", "found", *small]


def compared(folder, name, problem, script, *files):
    """Train by a plain script, then give the one command; return the problem and the cube."""
    (folder / f"{name}.py").write_text(problem)
    (folder / f"train_{name}.py").write_text(script)
    subprocess.run([sys.executable, f"train_{name}.py"], cwd=folder, check=True, timeout=500)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", command(name, *files))
        patch.setenv("OMP_NUM_THREADS", "1")
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    with kdl.open_cube(folder / "studies" / "found") as cube:
        return kdl.problem(f"{folder / name}.py:make"), cube.load().squeeze("seed")


class Case(NamedTuple):
    """A comparison, and its networks and problem as plain PyTorch has them; the first two make a pair."""

    problem: kdl.Problem
    cube: xr.Dataset
    nets: dict[str, nn.Module]
    control: nn.Module | None
    plain: plain_comparison.Plain
    folder: Path

    @property
    def pair(self):
        return tuple(self.nets)[:2]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    problem, cube = compared(folder, "images", IMAGES, IMAGE_SCRIPT, *IMAGE_FILES)
    nets, network = {}, runpy.run_path(str(folder / "images.py"))["network"]
    for name in ("teacher", "student", "wide", "control"):
        content = torch.load(folder / f"{name}.pt", weights_only=True)
        net = network(5 if name == "wide" else 3)
        plain = {key.removeprefix("module."): x for key, x in content.items() if key != "n_averaged"}
        net.load_state_dict(content.get("state_dict", plain))
        nets[name] = net.double().eval()
    data = {"train": problem.train, "test": problem.test}
    plain = plain_comparison.Plain(lambda net, x: net(x.double()), cross_entropy, lambda z, y: (z, y), data, 45)
    return Case(problem, cube, nets, nets.pop("control"), plain, folder)


def weights_of(net, state):
    """Return the weights of a state of the architecture of a network."""
    other = copy.deepcopy(net)
    told = other.load_state_dict({name: x.double() for name, x in dict(state).items()}, strict=False)
    assert not told.unexpected_keys
    assert set(told.missing_keys) <= {"lm_head.weight"}  # the same tensor as another one
    return other.eval(), plain_comparison.weights(other)


def fidelities(case):
    """Yield name, place, value and error of the fidelity of each pair, and what an independent network makes of it."""
    for (first, one), (second, two) in combinations(case.nets.items(), 2):
        for split in ("train", "test"):
            values = plain_comparison.fidelity(case.plain, one, two, split)
            if case.control is not None:
                beside = plain_comparison.fidelity(case.plain, one, case.control, split)
                values |= plain_comparison.excess(values, beside)
            for name, value in values.items():
                name, _, k = name.partition(" ")
                at = {"pair": f"{first} | {second}", "split": split} | ({"k": int(k)} if k else {})
                yield name, at, value, 2e-5


def paths(case):
    """Yield what lies between the first pair: as it is, permuted and rescaled, each of the same function."""
    first, second = (case.nets[name] for name in case.pair)
    objective = kdl.Objective(case.problem.model, case.problem.loss, case.problem.train, batch_size=45)
    states = [{k: x.float() for k, x in net.state_dict().items()} for net in (first, second)]
    moved = {
        "as it is": states[1],
        "permuted": kdl.align(objective, *states),
        "rescaled": rescaling(objective, *states),
    }
    start, distances, words = plain_comparison.weights(first), {}, " | ".join(case.pair)
    for alignment, state in moved.items():
        other, end = weights_of(second, state)
        same = (case.plain.logits(net, "train") for net in (other, second))
        torch.testing.assert_close(*same, rtol=1e-4, atol=1e-4)
        at = {"pair": words, "alignment": alignment}
        distances[alignment] = float((end - start).norm())
        yield "distance", at, distances[alignment], 1e-4
        yield "cosine", at, float(end @ start / end.norm() / start.norm()), 1e-5
        for split in ("train", "test"):
            found = plain_comparison.path(case.plain, first, start, end, split, [0.0, 0.5, 1.0])
            for name, value in found.items():
                yield name, at | {"split": split}, value, 1e-3
    assert distances["rescaled"] <= distances["permuted"] <= distances["as it is"]
    share = 1 - (distances["rescaled"] / distances["permuted"]) ** 2
    yield "scale_share", {"pair": words}, share, 1e-3


def planes(case):
    """Yield the plane through the first pair and the second of it, permuted; its unit is the distance of the pair."""
    first, second = (case.nets[name] for name in case.pair)
    objective = kdl.Objective(case.problem.model, case.problem.loss, case.problem.train, batch_size=45)
    states = [{k: x.float() for k, x in net.state_dict().items()} for net in (first, second)]
    corner, end = (plain_comparison.weights(net) for net in (first, second))
    third = weights_of(second, kdl.align(objective, *states))[1] - corner
    along = end - corner
    across = third - (third @ along) / (along @ along) * along
    across *= along.norm() / across.norm()
    unit = float(along @ along)
    places = {"point": case.cube["point"].values.tolist(), "axis": ["x", "y"]}
    coordinates = [[0, 0], [1, 0], [float(third @ along) / unit, float(third @ across) / unit]]
    yield "plane_points", places, coordinates, 1e-4

    def loss(x, y):
        net = plain_comparison.at(case.plain, first, corner + x * along + y * across)
        return case.plain.mean_loss(net, "train")

    yield "plane_point_loss", {"point": places["point"]}, [loss(*place) for place in coordinates], 1e-3
    grid = [[loss(x, y) for x in case.cube["x"].values] for y in case.cube["y"].values]
    yield "plane_loss", {}, grid, 1e-3


def each_network(case):
    """Yield what each network is by itself, with its own running statistics."""
    for name, net in case.nets.items():
        yield "num_parameters", {"network": name}, len(plain_comparison.weights(net)), 0
        for split in ("train", "test"):
            at, logits = {"network": name, "split": split}, case.plain.logits(net, split)
            z, y = case.plain.examples(logits, case.plain.data[split][1])
            yield "network_loss", at, case.plain.mean_loss(net, split), 1e-5
            yield "network_error", at, float((z.argmax(-1) != y).double().mean()), 1e-6
            least, temperature = plain_comparison.calibrated(case.plain, logits, split)
            yield "network_calibrated_loss", at, least, 1e-3
            yield "network_temperature", at, temperature, 0.02 * temperature


def curvatures(case):
    """Yield what follows from the dense Hessian at each of the first pair."""
    total = len(case.plain.data["train"][1])
    for name in case.pair:
        net, at = case.nets[name], {"network": name}
        gradient, hessian = plain_comparison.dense_hessian(case.plain, net)
        values, vectors = torch.linalg.eigh(hessian)
        yield "eigenvalues", at, values.flip(0)[:2], 1e-3 * float(values[-1])
        yield "residuals", at, [0.0, 0.0], 1e-3 * float(values[-1])  # its promise: the tolerance
        for kind, step in plain_comparison.steps_of_ascent(net, gradient).items():
            yield kind, at, (rise := plain_comparison.rise(case.plain, net, step)), 1e-3 * abs(rise)
        sigma = (
            float(case.cube["pac_bayes_sharpness"].sel(at)) ** -0.5
        )  # it bears this noise, and not one of 1.1 % more
        assert plain_comparison.mean_rise(case.plain, net, sigma) <= 0.1 * (1 + 1e-4)
        assert plain_comparison.mean_rise(case.plain, net, 1.011 * sigma) >= 0.1 * (1 - 1e-4)
        yield "pac_bayes_sharpness", at, sigma**-2, 0
        rules = case.cube[["nodes", "weights"]].sel(at)
        nodes, weights = (torch.as_tensor(rules[key].fillna(0).values).double() for key in ("nodes", "weights"))
        measures = (plain_comparison.random_signs(len(values), len(nodes)) @ vectors) ** 2
        for power in range(12):  # Gauss rules have the moments of the spectrum as each start vector sees it
            exact = measures @ (values / values[-1]) ** power
            torch.testing.assert_close((weights * (nodes / values[-1]) ** power).sum(1), exact, rtol=2e-3, atol=1e-6)
        yield "nodes", at, rules["nodes"].values, 0
        yield "weights", at, rules["weights"].values, 0
        counted = len(values) * (measures @ (values.clamp_min(0) / (values.clamp_min(0) + 1 / total)))
        truncation = case.cube["effective_dimension_truncation"].sel(at).item()
        yield "effective_dimension", at, [float(counted.mean())], truncation + 1e-2
        yield "effective_dimension_sem", at, [float(counted.std()) / len(counted) ** 0.5], truncation + 1e-2
        yield "effective_dimension_truncation", at, [truncation], 0
        negative = float((measures @ values.clamp_max(0).abs()).sum() / (measures @ values.abs()).sum())
        yield "negative_mass", at, negative, 0.02


@pytest.mark.parametrize("name", ["images", "text"])
def test_every_number_of_a_comparison_is_that_of_plain_torch(name, request):
    case = request.getfixturevalue(name)
    checked = set()
    for part in (fidelities, paths, planes, each_network, curvatures):
        for variable, place, expected, error in part(case):
            if variable in case.cube:
                found = case.cube[variable].sel(place).values
                np.testing.assert_allclose(found, expected, rtol=0, atol=error, err_msg=f"{variable} at {place}")
                checked.add(variable)
    numbers = {str(key) for key, x in case.cube.data_vars.items() if x.dtype.kind in "fi"}
    assert numbers == checked


def test_networks_of_different_shapes_give_what_is_defined_and_the_reason_for_the_rest(images):
    cube = images.cube
    assert cube["path_loss"].sel(pair="teacher | wide").isnull().all()
    note = cube["path_note"].sel(pair="teacher | wide", alignment="as it is").item()
    assert "first in 1.weight: (3, 1, 3, 3) in teacher, (5, 1, 3, 3) in wide" in note
    assert cube["eigenvalues"].sel(network="wide").notnull().all()
    said = kdl.studies.say(cube.expand_dims("seed"), ["compare"])
    assert any("no path, barrier or alignment is defined" in one for one in said)
    agreement = float(cube["agreement"].sel(pair="teacher | student", split="test"))
    assert any(f"agree on {agreement:.1%} of the test examples" in one for one in said)


def test_one_command_leaves_a_study_with_its_page_cube_figures_and_an_explorer(images):
    folder = images.folder
    study = folder / "studies" / "found"
    names = ("pair_fidelity", "pair_paths", "network_plane", "network_spectra")
    assert all((study / "figures" / f"{name}.pdf").is_file() for name in names)
    page = json.loads(next(study.glob("runs/*.ipynb")).read_text())
    said = [line for cell in page["cells"] for out in cell.get("outputs", []) for line in out.get("text", [])]
    assert any("the barrier of the training loss is" in line for line in said)
    pytest.importorskip("ipywidgets")
    kdl.explore(images.cube.expand_dims("seed"))


def test_a_changed_checkpoint_is_not_mixed_in_silence_with_what_was_computed(images, capsys, monkeypatch):
    folder = images.folder
    content = torch.load(folder / "teacher.pt", weights_only=True)
    content["state_dict"]["8.bias"] += 1
    torch.save(content, folder / "teacher.pt")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", command("images", *IMAGE_FILES))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "digests" in capsys.readouterr().err


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    problem, cube = compared(folder, "text", TEXT, TEXT_SCRIPT, "one", "two.safetensors", "deep")
    from safetensors.torch import load_model
    from transformers import GPT2LMHeadModel

    nets = {"one": GPT2LMHeadModel.from_pretrained(folder / "one"), "two": problem.network()}
    load_model(nets["two"], folder / "two.safetensors")
    nets["deep"] = GPT2LMHeadModel.from_pretrained(folder / "deep")
    nets = {name: net.double().eval() for name, net in nets.items()}
    data = {"train": problem.train, "test": problem.test}

    def mean_loss(logits, letters):
        each = cross_entropy(logits[:, :-1].transpose(1, 2), letters[:, 1:], reduction="none", ignore_index=-100)
        return (each.sum(1) / (letters[:, 1:] != -100).sum(1)).mean()

    def counted(logits, letters):
        counts = letters[:, 1:] != -100
        return logits[:, :-1][counts], letters[:, 1:][counts]

    plain = plain_comparison.Plain(lambda net, inputs: net(**inputs).logits, mean_loss, counted, data, 45)
    return Case(problem, cube, nets, None, plain, folder)


def test_the_plane_names_its_unit_and_the_paths_their_statistics(images):
    start, end = (plain_comparison.weights(images.nets[name]) for name in images.pair)
    assert f"units of their distance, {float((end - start).norm()):.4g}" in images.cube["x"].long_name
    assert images.cube["point"].values.tolist() == ["teacher", "student", "student, permuted"]
    for name in ("teacher", "student"):  # these lie on the grid
        (x, y), own = (
            images.cube["plane_points"].sel(point=name).values,
            images.cube["plane_point_loss"].sel(point=name),
        )
        there = images.cube["plane_loss"].sel(x=x, y=y, method="nearest")
        np.testing.assert_allclose([there["x"], there["y"]], [x, y], atol=1e-6)
        np.testing.assert_allclose(there, own, rtol=1e-5)
    assert (np.diff(images.cube["x"]) > 0).all()
    assert images.cube.attrs["bn"] == "recalibrate"


def test_tokens_are_compared_where_the_loss_counts_them(text):
    assert text.cube.attrs["positions"] == "tokens, logits with the target at the next position"
    assert text.cube["path_loss"].sel(pair="one | deep").isnull().all()
    assert text.cube["agreement"].sel(pair="one | deep").notnull().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images.py:make", "student.pt"], "expected two or more checkpoints to compare, got 1"),
        (["images.py:make", "student.pt", "student.pt"], "got the same checkpoint twice"),
        (["images.py:make", "student.pt", "none.pt"], r"none \(.*none.pt\): expected a checkpoint, got nothing there"),
        (["images.py:make", "student.pt", "wide.pt"], r"wide \(.*\): it is of another network: .*expected shape"),
        (["images.py:nothing", "student.pt", "control.pt"], "expected a function of .*images.py"),
        (
            ["images.py:network", "student.pt", "control.pt"],
            "expected it to return a kdlandscape Problem, got Sequential",
        ),
        (["images.py:make", "student.pt", "control.pt", "-p", "bn=on"], "bn: expected"),
    ],
)
def test_bad_input_is_one_message_before_a_study_is_made(images, arguments, message, capsys, monkeypatch):
    import re

    folder = images.folder
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["kdlandscape", "compare", *arguments, "--root", "others"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert not (folder / "others").exists()
