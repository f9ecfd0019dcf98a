"""Networks that nobody here wrote, on real text and images: every question against plain torch in float64."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import kdlandscape as kdl

transformers = pytest.importorskip("transformers")


def text(n=6, length=8):
    """Return rows of letters (n, length) of a text in English, as numbers below 27."""
    letters = [ord(c) - 96 if c.isalpha() else 0 for c in load_digits()["DESCR"].lower() if c.isascii()]
    return torch.tensor(letters[200 : 200 + n * length]).view(n, length)


def next_letter(output, tokens):
    """Mean cross entropy of each next letter, one value for each row."""
    return functional.cross_entropy(output.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


SMALL = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=27, n_positions=8, n_embd=4, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config), next_letter, (text(), text())


def bert():
    config = transformers.BertConfig(vocab_size=27, max_position_embeddings=8, num_labels=3, **SMALL)
    data = {"input_ids": text(), "attention_mask": (text() > 0).long(), "labels": torch.arange(6) % 3}
    return transformers.BertForSequenceClassification(config), torch.nn.CrossEntropyLoss(), data


def vit():
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_channels=1, num_labels=10, **SMALL)
    digits = load_digits()
    images = torch.from_numpy(digits.images[:6])[:, None] / 16
    return transformers.ViTForImageClassification(config), torch.nn.CrossEntropyLoss(), (images, torch.arange(6))


def made(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, loss, data = make()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return network.double().eval(), loss, data


class Plain:
    """Value, gradient and Hessian of the same network by plain torch, all data as one batch."""

    def __init__(self, network, loss, data):
        self.network, self.loss, self.data = copy.deepcopy(network), loss, data
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]

    def mean(self):
        data = dict(self.data) if isinstance(self.data, dict) else None
        targets = data.pop("labels") if data else self.data[1]
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            output = self.network(**data) if data else self.network(self.data[0])
        return self.loss(output if self.loss is next_letter else output.logits, targets).mean()

    def at(self, theta):
        torch.nn.utils.vector_to_parameters(theta, self.parameters)
        return float(self.mean().detach())

    def hessian(self):
        slope = torch.autograd.grad(self.mean(), self.parameters, create_graph=True, allow_unused=True)
        flat = torch.cat(
            [
                torch.zeros_like(p).flatten() if s is None else s.flatten()
                for s, p in zip(slope, self.parameters, strict=True)
            ]
        )
        rows = []
        for entry in flat:
            row = (
                torch.autograd.grad(entry, self.parameters, retain_graph=True, allow_unused=True)
                if entry.requires_grad
                else [None] * len(self.parameters)
            )
            rows.append(
                torch.cat(
                    [
                        torch.zeros_like(p).flatten() if r is None else r.flatten()
                        for r, p in zip(row, self.parameters, strict=True)
                    ]
                )
            )
        return torch.stack(rows)


@pytest.mark.parametrize("make", [gpt2, bert, vit], ids=lambda make: make.__name__)
def test_a_network_of_transformers_answers_every_question_as_it_comes(make):
    network, loss, data = made(make)
    plain = Plain(network, loss, data)
    objective = kdl.Objective(network, loss, data, batch_size=4)
    theta = objective.theta
    assert float(objective.value(network)) == pytest.approx(plain.at(theta), rel=1e-12)
    matrix = plain.hessian()
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-10)
    v = torch.randn(objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = kdl.hessian(objective, network)
    torch.testing.assert_close(h @ v, matrix @ v, rtol=1e-9, atol=1e-9)
    exact = torch.linalg.eigvalsh(matrix)
    pairs = h.top_eigenpairs(3, tol=1e-8)
    np.testing.assert_allclose(pairs["eigenvalues"], exact.flip(0)[:3], rtol=1e-6)
    z = 0.1
    clipped = exact.clamp_min(0)
    found = h.effective_dimension(z, scale="mean", num_matvecs=60, num_draws=8)
    error = 4 * float(found["effective_dimension_sem"].squeeze()) + 1e-6
    assert abs(float(found["effective_dimension"].squeeze()) - float((clipped / (clipped + z)).sum())) < error
    other = made(make, seed=1)[0]
    path = kdl.interpolate(objective, network, other, t=5)
    end = objective.ravel(other)
    expected = [plain.at((1 - t) * theta + t * end) for t in path["t"].values.tolist()]
    np.testing.assert_allclose(path["loss"], expected, rtol=1e-10)
    chord = [(1 - t) * expected[0] + t * expected[-1] for t in path["t"].values.tolist()]
    assert float(kdl.barrier(path)) == pytest.approx(max(np.subtract(expected, chord)), abs=1e-12)
    directions = kdl.random_directions(network, 2, generator=torch.Generator().manual_seed(0))
    plane = kdl.slice_plane(objective, network, directions, x=[-0.5, 0.0], y=[0.0, 0.5])
    moved = theta - 0.5 * directions.directions[0] + 0.5 * directions.directions[1]
    assert float(plane["loss"].sel(x=-0.5, y=0.5)) == pytest.approx(plain.at(moved), rel=1e-10)
    assert objective.predict(network).shape[0] == 6


def test_a_padding_row_that_counts_gets_no_gradient_and_is_refused_by_name():
    network, loss, data = made(bert)
    data = data | {"attention_mask": torch.ones_like(data["input_ids"])}
    objective = kdl.Objective(network, loss, data)
    with pytest.raises(ValueError, match=r"word_embeddings' .* is cut: .* padding row counts"):
        kdl.hessian(objective, network)
