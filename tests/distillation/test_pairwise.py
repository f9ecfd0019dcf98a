"""Pairs of networks beside plain PyTorch: two convolution networks with running statistics, and two language models."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import kdlandscape as kdl
from kdlandscape.cli import main

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
SMALL |= {"precision": [1.0], "sharpness": ["sam"], "batch_size": 45}


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


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    problem, cube = compared(folder, "images", IMAGES, IMAGE_SCRIPT, *IMAGE_FILES)
    nets = {}
    for name in ("teacher", "student", "control"):
        content = torch.load(folder / f"{name}.pt", weights_only=True)
        nets[name] = problem.network()
        plain = {key.removeprefix("module."): x for key, x in content.items() if key != "n_averaged"}
        nets[name].load_state_dict(content.get("state_dict", plain))
        nets[name].eval()
    return problem, cube, nets, folder


def probabilities(net, inputs):
    with torch.no_grad():
        outputs = net.double()(**inputs).logits if isinstance(inputs, dict) else net.double()(inputs.double())
    return outputs.log_softmax(-1)


def plain_fidelity(log_p, log_q, targets):
    """Return agreement, both divergences and accuracies of examples (n, C), in float64."""
    p, q = log_p.exp(), log_q.exp()
    right = (log_p.argmax(-1) == targets).double(), (log_q.argmax(-1) == targets).double()
    a, b = (float(x.mean()) for x in right)
    return {
        "agreement": float((log_p.argmax(-1) == log_q.argmax(-1)).double().mean()),
        "kl_teacher_student": float((p * (log_p - log_q)).sum(-1).mean()),
        "kl_student_teacher": float((q * (log_q - log_p)).sum(-1).mean()),
        "entropy_gap": float(((p * log_p).sum(-1) - (q * log_q).sum(-1)).mean()),
        "teacher_accuracy": a,
        "student_accuracy": b,
        "agreement_min": max(0.0, a + b - 1),
        "agreement_max": 1 - abs(a - b),
    }


def test_fidelity_with_bounds_and_an_independent_control_is_that_of_plain_torch(images):
    problem, cube, nets, _ = images
    for split in ("train", "test"):
        x, y = getattr(problem, split)
        log_p = {name: probabilities(net, x) for name, net in nets.items()}
        expected = plain_fidelity(log_p["teacher"], log_p["student"], y)
        beside = plain_fidelity(log_p["teacher"], log_p["control"], y)
        expected["control_agreement"] = beside["agreement"]
        expected["excess_agreement"] = expected["agreement"] - beside["agreement"]
        found = cube.sel(pair="teacher | student", split=split)
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(value, abs=2e-5), (split, name)
    assert cube["agreement"].sel(pair="teacher | wide").notnull().all()


def with_own_statistics(nets, t, x):
    """Return a network at t between two, its running statistics estimated anew on two batches of 45 examples."""
    import copy

    between = copy.deepcopy(nets[0])
    with torch.no_grad():
        for p, a, b in zip(between.parameters(), nets[0].parameters(), nets[1].parameters(), strict=True):
            p.copy_((1 - t) * a + t * b)
    for layer in between:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over both batches
    with torch.no_grad():
        for part in x.split(45):
            between.train()(part)
    return between.eval()


def test_barriers_raw_and_calibrated_are_those_of_a_plain_loop_with_statistics_estimated_anew(images):
    problem, cube, nets, _ = images
    x, y = problem.train
    ends = [nets["teacher"].double(), nets["student"].double()]
    losses, calibrated, wrong = [], [], []
    for t in (0.0, 0.5, 1.0):
        with torch.no_grad():
            z = with_own_statistics(ends, t, x.double())(x.double())
        losses.append(float(cross_entropy(z, y)))
        fine = torch.logspace(-3, 3, 6001, base=2.0, dtype=torch.float64)
        calibrated.append(min(float(cross_entropy(z / temperature, y)) for temperature in fine[::10]))
        wrong.append(float((z.argmax(-1) != y).double().mean()))
    found = cube.sel(pair="teacher | student", split="train", alignment="as it is")
    np.testing.assert_allclose(found["path_loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(found["path_calibrated_loss"], calibrated, rtol=1e-3)
    np.testing.assert_allclose(found["path_error"], wrong, atol=1e-6)
    for name, values in {"barrier": losses, "calibrated_loss_barrier": calibrated, "error_barrier": wrong}.items():
        height = max(0.0, values[1] - (values[0] + values[2]) / 2)
        assert float(found[name]) == pytest.approx(height, abs=2e-3), name
    assert cube.attrs["bn"] == "recalibrate"


def test_aligned_and_rescaled_paths_end_at_the_same_function_and_the_distance_is_that_of_the_weights(images):
    problem, cube, nets, _ = images
    part = cube.sel(pair="teacher | student")
    flat = [nn.utils.parameters_to_vector(nets[name].parameters()).double() for name in ("teacher", "student")]
    raw = float((flat[0] - flat[1]).detach().norm())
    distances = part["distance"].sel(alignment=["as it is", "permuted", "rescaled"]).values
    assert distances[0] == pytest.approx(raw, rel=1e-5)
    assert distances[2] <= distances[1] <= distances[0]
    assert float(part["scale_share"]) == pytest.approx(1 - (distances[2] / distances[1]) ** 2, rel=1e-3)
    objective = kdl.Objective(problem.model, nn.CrossEntropyLoss(), problem.train, batch_size=45)
    states = [{k: x.float() for k, x in nets[name].state_dict().items()} for name in ("teacher", "student")]
    moved = kdl.align(objective, *states)
    own = problem.network()
    own.load_state_dict(dict(moved))
    x = problem.train[0]
    torch.testing.assert_close(
        own.eval().double()(x.double()), nets["student"].double()(x.double()), rtol=1e-5, atol=1e-5
    )
    middle = with_own_statistics([nets["teacher"].double(), own.double()], 0.5, x.double())
    with torch.no_grad():
        loss = float(cross_entropy(middle(x.double()), problem.train[1]))
    found = part["path_loss"].sel(alignment="permuted", split="train", t=0.5)
    assert float(found) == pytest.approx(loss, rel=1e-3)


def test_spectra_and_sharpness_at_each_network_are_those_of_double_backward(images):
    problem, cube, nets, _ = images
    x, y = problem.train
    for name in ("teacher", "student"):
        net = nets[name].double()
        parameters = list(net.parameters())
        loss = cross_entropy(net(x.double()), y)
        slopes = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([s.reshape(-1) for s in slopes])
        rows = [torch.autograd.grad(s, parameters, retain_graph=True, allow_unused=True) for s in flat]
        hessian = torch.stack([torch.cat([r.reshape(-1) for r in row]) for row in rows])
        values = torch.linalg.eigvalsh(hessian)
        found = cube.sel(network=name)
        np.testing.assert_allclose(found["eigenvalues"], values.flip(0)[:2], rtol=1e-3)
        n = len(y)
        counted = float((values.clamp_min(0) / (values.clamp_min(0) + 1 / n)).sum())
        error = 5 * float(found["effective_dimension_sem"][0] + found["effective_dimension_truncation"][0])
        assert float(found["effective_dimension"][0]) == pytest.approx(counted, abs=error)
        step = 0.05 * flat.detach() / flat.detach().norm()
        point = nn.utils.parameters_to_vector(parameters).detach()
        nn.utils.vector_to_parameters(point + step, parameters)
        with torch.no_grad():
            rise = float(cross_entropy(net(x.double()), y) - loss)
        nn.utils.vector_to_parameters(point, parameters)
        assert float(found["sam_sharpness"]) == pytest.approx(rise, rel=1e-3)
        assert int(found["num_parameters"]) == len(flat)
        assert float(found["network_loss"].sel(split="train")) == pytest.approx(float(loss.detach()), rel=1e-4)


def test_the_plane_holds_the_networks_and_their_losses(images):
    problem, cube, nets, _ = images
    flat = {name: nn.utils.parameters_to_vector(net.parameters()).double() for name, net in nets.items()}
    points = cube["plane_points"]
    assert points["point"].values.tolist() == ["teacher", "student", "student, permuted"]
    first, second = (points.sel(point=name).values for name in ("teacher", "student"))
    np.testing.assert_allclose(first, [0, 0], atol=1e-6)
    np.testing.assert_allclose(second, [1, 0], atol=1e-5)
    assert f"distances of {float((flat['student'] - flat['teacher']).detach().norm()):.4g}" in cube["x"].long_name
    x, y = problem.train
    ends = [nets["teacher"].double(), nets["student"].double()]
    for name, t in (("teacher", 0.0), ("student", 1.0)):
        with torch.no_grad():
            loss = float(cross_entropy(with_own_statistics(ends, t, x.double())(x.double()), y))
        assert float(cube["plane_point_loss"].sel(point=name)) == pytest.approx(loss, rel=1e-3)


def test_networks_of_different_shapes_give_what_is_defined_and_the_reason_for_the_rest(images):
    _, cube, _, folder = images
    assert cube["path_loss"].sel(pair="teacher | wide").isnull().all()
    note = cube["path_note"].sel(pair="teacher | wide", alignment="as it is").item()
    assert "first in 1.weight: (3, 1, 3, 3) in teacher, (5, 1, 3, 3) in wide" in note
    assert cube["eigenvalues"].sel(network="wide").notnull().all()
    said = kdl.studies.say(kdl.open_cube(folder / "studies" / "found"), ["compare"])
    assert any("no path, barrier or alignment is defined" in one for one in said)
    agreement = float(cube["agreement"].sel(pair="teacher | student", split="test"))
    assert any(f"agree on {agreement:.1%} of the test examples" in one for one in said)


def test_one_command_leaves_a_study_with_its_page_cube_figures_and_an_explorer(images):
    *_, folder = images
    study = folder / "studies" / "found"
    names = ("pair_fidelity", "pair_paths", "network_plane", "network_spectra")
    assert all((study / "figures" / f"{name}.pdf").is_file() for name in names)
    page = json.loads(next(study.glob("runs/*.ipynb")).read_text())
    said = [line for cell in page["cells"] for out in cell.get("outputs", []) for line in out.get("text", [])]
    assert any("the barrier of the training loss is" in line for line in said)
    pytest.importorskip("ipywidgets")
    with kdl.open_cube(study) as cube:
        kdl.explore(cube)


def test_a_changed_checkpoint_is_not_mixed_in_silence_with_what_was_computed(images, capsys, monkeypatch):
    *_, folder = images
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
    return problem, cube, {name: net.eval() for name, net in nets.items()}


def test_tokens_are_compared_where_the_loss_counts_them(text):
    problem, cube, nets = text
    assert cube.attrs["positions"] == "tokens, logits with the target at the next position"
    for split in ("train", "test"):
        inputs, letters = getattr(problem, split)
        counts = letters[:, 1:] != -100
        log_p, log_q = (probabilities(nets[name], inputs)[:, :-1][counts] for name in ("one", "two"))
        found = cube.sel(pair="one | two", split=split)
        for name, value in plain_fidelity(log_p, log_q, letters[:, 1:][counts]).items():
            assert float(found[name]) == pytest.approx(value, abs=2e-5), (split, name)


def next_letter(logits, letters):
    each = cross_entropy(logits[:, :-1].transpose(1, 2), letters[:, 1:], reduction="none", ignore_index=-100)
    return (each.sum(1) / (letters[:, 1:] != -100).sum(1)).mean()


def test_the_path_between_language_models_and_their_curvature_are_those_of_plain_torch(text):
    problem, cube, nets = text
    inputs, letters = problem.train
    between, losses = problem.network().double().eval(), []
    for t in (0.0, 0.5, 1.0):
        with torch.no_grad():
            for p, a, b in zip(between.parameters(), *(nets[name].double().parameters() for name in nets), strict=True):
                p.copy_((1 - t) * a + t * b)
            losses.append(float(next_letter(between(**inputs).logits, letters)))
    found = cube.sel(pair="one | two", alignment="as it is", split="train")
    np.testing.assert_allclose(found["path_loss"], losses, rtol=1e-5)
    assert float(found["barrier"]) == pytest.approx(max(0.0, losses[1] - (losses[0] + losses[2]) / 2), abs=1e-4)
    ends = cube["path_loss"].sel(pair="one | two", split="train", t=[0.0, 1.0])
    np.testing.assert_allclose(ends.transpose("t", "alignment") - np.array(losses)[[0, 2], None], 0, atol=1e-4)
    net = nets["one"].double()
    parameters = list(net.parameters())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        slopes = torch.autograd.grad(next_letter(net(**inputs).logits, letters), parameters, create_graph=True)
        flat = torch.cat([s.reshape(-1) for s in slopes])
        v = torch.randn(len(flat), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for _ in range(150):
            v = v / v.norm()
            product = torch.autograd.grad(flat @ v, parameters, retain_graph=True)
            v, last = torch.cat([s.reshape(-1) for s in product]) + 5 * v, v
    largest = float(v @ last - 5)
    assert float(cube["eigenvalues"].sel(network="one")[0]) == pytest.approx(largest, rel=1e-3)
    assert cube["path_loss"].sel(pair="one | deep").isnull().all()
    assert cube["agreement"].sel(pair="one | deep").notnull().all()


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

    *_, folder = images
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["kdlandscape", "compare", *arguments, "--root", "others"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert not (folder / "others").exists()
