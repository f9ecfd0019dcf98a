"""Networks with statistics, state and random numbers are trained, distilled and studied as plain torch does it."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import kdlandscape as kdl
from kdlandscape.distillation import logits, network, tempered_kl, train_teachers
from tests.distillation.test_any_network import RECIPE, N, plain, seeded


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=18, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=10,
        max_position_embeddings=8, attn_implementation="eager",
    )  # fmt: skip
    assert config.hidden_dropout_prob > 0
    return transformers.BertForSequenceClassification(config)


def digits(form):
    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels[: 3 * N])
    shaped = {"resnet": x / 16, "lstm": x.view(-1, 8, 8) / 16, "encoder": {"input_ids": x[:, 24:32].long() + 1}}[form]
    return shaped, torch.tensor(labels[: 3 * N])


MAKE = {
    "resnet": lambda: network("resnet", 64, 10, width=4, depth=1, norm="batch", dims=2),
    "lstm": Lstm,
    "encoder": bert,
}


def part(tree, rows):
    return {name: leaf[rows] for name, leaf in tree.items()} if isinstance(tree, dict) else tree[rows]


def outputs(module, x):
    return module(**x).logits if isinstance(x, dict) else module(x)


def moved(module, parameters, x):
    """Return a network with other parameters, and with statistics that a pass over the data gives."""
    other = copy.deepcopy(module)
    nn.utils.vector_to_parameters(parameters, other.parameters())
    layers = [layer for layer in other.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    if layers:
        outputs(other, x)
    return other.eval()


@pytest.mark.parametrize("name", MAKE)
def test_a_network_is_trained_distilled_and_studied_as_plain_torch_computes_it(name, tmp_path):
    x, y = digits(name)
    first, rest = slice(None, N), slice(N, None)
    p = kdl.Problem(
        network=lambda: MAKE[name]().double(), train=(part(x, first), y[first]), test=(part(x, rest), y[rest])
    ).checked()
    taught = train_teachers(p.network, *p.train, RECIPE, seeds=[3], folder=tmp_path)
    trained = kdl.distill(p.model, p.initial([4]), taught, p.train[0], RECIPE, generator=seeded(), temperature=2.0)

    start = [copy.deepcopy(p.model) for _ in range(2)]
    for module, theta in zip(start, p.initial([3, 4]), strict=True):
        nn.utils.vector_to_parameters(theta, module.parameters())
    with torch.random.fork_rng():
        teacher = plain(start[0], p.train[0], lambda z, rows: cross_entropy(z, y[rows]), seeded(3)).eval()
        labels = outputs(teacher, p.train[0]).detach()
        student = plain(start[1], p.train[0], lambda z, rows: tempered_kl(labels[rows], z, 2.0).mean(), seeded()).eval()
    for module, state in ((teacher, taught.states[0]), (student, trained.states[0])):
        own = module.state_dict()
        for key, tensor in state.items():
            torch.testing.assert_close(tensor, own[key], rtol=1e-7, atol=1e-8)

    with torch.no_grad():
        z_t, z_s = (outputs(module, p.test[0]).log_softmax(-1) for module in (teacher, student))
    found = kdl.fidelity(logits(p.model, taught, p.test[0])[0], logits(p.model, trained, p.test[0])[0], p.test[1])
    assert float(found["agreement"]) == float((z_t.argmax(-1) == z_s.argmax(-1)).double().mean())
    assert float(found["kl_teacher_student"]) == pytest.approx(
        float((z_t.exp() * (z_t - z_s)).sum(-1).mean()), rel=1e-5
    )

    objective = kdl.Objective(p.model, nn.CrossEntropyLoss(), p.train)
    ends = [nn.utils.parameters_to_vector(module.parameters()).detach() for module in (student, teacher)]
    path = kdl.interpolate(objective, trained.states[0], taught.states[0], t=[0.0, 0.5, 1.0], bn=p.batch_norm)
    assert p.batch_norm == ("recalibrate" if name == "resnet" else "frozen")
    directions = torch.randn(2, objective.dim, generator=seeded(1), dtype=torch.float64) / 10
    plane = kdl.slice_plane(objective, taught.states[0], directions, x=[0.0, 1.0], y=[0.0, 1.0], bn=p.batch_norm)
    with torch.no_grad():
        losses = []
        for theta in (*ends, (ends[0] + ends[1]) / 2, ends[1] + directions.sum(0)):
            losses.append(float(cross_entropy(outputs(moved(teacher, theta, p.train[0]), p.train[0]), p.train[1])))
    height = losses[2] - (losses[0] + losses[1]) / 2
    assert float(kdl.barrier(path)) == pytest.approx(max(height, 0), abs=1e-6)
    assert float(path["loss"][1]) == pytest.approx(losses[2], rel=1e-6)
    assert float(plane["loss"][1, 1]) == pytest.approx(losses[3], rel=1e-6)

    pair = kdl.hessian(objective, taught.states[0]).top_eigenpairs(1, tol=1e-8, vectors=True)
    value = cross_entropy(outputs(teacher, p.train[0]), p.train[1])
    slopes = torch.autograd.grad(value, list(teacher.parameters()), create_graph=True, allow_unused=True)
    pairs = list(zip(slopes, teacher.parameters(), strict=True))
    flat = torch.cat([(torch.zeros_like(w) if s is None else s).reshape(-1) for s, w in pairs])
    v = torch.as_tensor(pair["eigenvectors"].values[0])
    again = torch.autograd.grad(flat @ v, list(teacher.parameters()), allow_unused=True)
    product = torch.cat(
        [(torch.zeros_like(w) if s is None else s).reshape(-1) for s, (_, w) in zip(again, pairs, strict=True)]
    )
    np.testing.assert_allclose(product, float(pair["eigenvalues"][0]) * v, atol=1e-6 * float(pair["eigenvalues"][0]))
