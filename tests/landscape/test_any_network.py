"""Random small networks, losses and data against plain torch in float64: value, gradient, all curvatures, one slice."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kdlandscape as kdl

CASES, CHUNK = 240, 8
ACTIVATIONS = [nn.Tanh, nn.SiLU, nn.GELU, nn.Softplus, nn.Sigmoid, nn.ELU, nn.Mish]


@dataclass
class Scores:
    hidden: Tensor
    logits: Tensor


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Tied(nn.Module):
    """One weight used twice."""

    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.up.weight = self.down.weight

    def forward(self, x):
        return self.up(self.down(x).tanh())


class Reader(nn.Module):
    """Reads one of the kinds of inputs, runs a body, and returns one of the kinds of outputs."""

    def __init__(self, kind, reader, body, head, output):
        super().__init__()
        self.kind, self.reader, self.body, self.head, self.output = kind, reader, body, head, output

    def forward(self, first, second=None):
        h = self.reader(first)
        h = h + self.reader(second) if second is not None else h
        if self.kind == "tokens":
            h = h + self.attention(h) if hasattr(self, "attention") else h
            h = h.mean(1)
        z = self.head(self.body(h.flatten(1)))
        return {"tensor": z, "tuple": (z, h), "dict": {"hidden": h, "logits": z}, "dataclass": Scores(h, z)}[
            self.output
        ]


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


def norms(width):
    batch = nn.BatchNorm1d(width)
    with torch.no_grad():
        batch.running_mean.normal_()
        batch.running_var.uniform_(0.5, 2)
    return [nn.Identity(), nn.LayerNorm(width), nn.GroupNorm(1, width), nn.RMSNorm(width), batch]


def one_of(options):
    return options[int(torch.randint(len(options), ()))]


def layer(width):
    kind = one_of(["plain", "plain", "gate", "residual", "tied", "frozen"])
    if kind == "gate":
        return nn.Sequential(nn.Linear(width, 2 * width), nn.GLU())
    if kind == "tied":
        return Tied(width)
    plain = nn.Sequential(
        nn.Linear(width, width, bias=one_of([True, False])), one_of(norms(width)), one_of(ACTIVATIONS)()
    )
    if kind == "frozen":
        plain[0].requires_grad_(False)
    return Residual(plain) if kind == "residual" else plain


def composed(outputs):
    """Return a random network and inputs of its kind."""
    width, n = one_of([2, 4]), one_of([5, 7, 11])
    kind = one_of(["vector", "two", "tokens", "image"])
    if kind == "tokens":
        reader, inputs = nn.Embedding(5, width), (torch.randint(5, (n, 3)),)
    elif kind == "image":
        reader = nn.Sequential(nn.Conv2d(1, width, 3), one_of(ACTIVATIONS)(), nn.AdaptiveAvgPool2d(1))
        inputs = (torch.randn(n, 1, 4, 4),)
    else:
        reader, inputs = nn.Linear(3, width), tuple(torch.randn(n, 3) for _ in range(2 if kind == "two" else 1))
    body = nn.Sequential(*(layer(width) for _ in range(one_of([1, 2]))))
    network = Reader(kind, reader, body, nn.Linear(width, outputs), one_of(["tensor", "tuple", "dict", "dataclass"]))
    if kind == "tokens" and one_of([True, False]):
        network.attention = Attention(width)
    return network.double(), tuple(x.double() if x.is_floating_point() else x for x in inputs)


def losses(n, outputs):
    """Return random losses with targets: torch's own, per example, as pairs, soft, weighted, with ignored examples."""
    classes = torch.randint(outputs, (n,))
    some = classes.masked_fill(torch.arange(n) % 3 == 1, -100)
    real, weight = torch.randn(n, outputs).double(), torch.rand(outputs).double() + 0.5
    return [
        (nn.CrossEntropyLoss(), classes, "softmax"),
        (nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1), some, "weighted"),
        (nn.CrossEntropyLoss(weight=weight), real.softmax(1), "weighted"),
        (nn.MSELoss(), real, "squares"),
        (nn.BCEWithLogitsLoss(pos_weight=weight), (real > 0).double(), "weighted"),
        (lambda z, y: functional.smooth_l1_loss(z, y, reduction="none", beta=3.0).sum(1), real, "other"),
        (lambda z, y: (functional.cross_entropy(z, y, reduction="sum"), (y >= 0).sum()), some, "weighted"),
        (lambda z, y: functional.kl_div(z.log_softmax(1), y, reduction="batchmean"), real.softmax(1), "soft"),
    ]


def logits_of(raw):
    return (
        raw
        if isinstance(raw, Tensor)
        else raw[0]
        if isinstance(raw, tuple)
        else (raw["logits"] if isinstance(raw, dict) else raw.logits)
    )


class Plain:
    """The same network and loss by plain torch, all data as one batch."""

    def __init__(self, network, loss, inputs, targets):
        self.network, self.loss = copy.deepcopy(network).eval(), loss
        self.inputs, self.targets = inputs, targets
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]

    def outputs(self, index=slice(None)):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return logits_of(self.network(*(x[index] for x in self.inputs)))

    def mean(self, z, index=slice(None)):
        value = self.loss(z, self.targets[index])
        return value[0] / value[1] if isinstance(value, tuple) else value.mean()

    def flat(self, value, create_graph=False):
        grads = torch.autograd.grad(value, self.parameters, create_graph=create_graph, allow_unused=True)
        pairs = zip(grads, self.parameters, strict=True)
        return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs])

    def hessian(self, v):
        slope = self.flat(self.mean(self.outputs()), create_graph=True)
        return self.flat(slope @ v) if slope.requires_grad else torch.zeros_like(v)

    def jacobian(self, z):
        return torch.stack([self._row(entry) for entry in z.flatten()])

    def _row(self, entry):
        grads = torch.autograd.grad(entry, self.parameters, retain_graph=True, allow_unused=True)
        pairs = zip(grads, self.parameters, strict=True)
        return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs])

    def ggn(self, v):
        z = self.outputs()
        j = self.jacobian(z)
        h = torch.autograd.functional.hessian(lambda flat: self.mean(flat.view(z.shape)), z.detach().flatten())
        return j.T @ (h @ (j @ v))

    def empirical_fisher(self, v):
        n = len(self.targets)
        g = torch.stack([self.flat(self.mean(self.outputs(slice(i, i + 1)), slice(i, i + 1))) for i in range(n)])
        return g.T @ (g @ v) / n


def close(ours, theirs, seed, what):
    scale = float(theirs.abs().max().clamp_min(1e-6))
    worst = float((ours - theirs).abs().max()) / scale
    assert worst < 1e-8, f"seed {seed}: {what} differs by {worst:.1e} of {scale:.3g}"


@pytest.mark.parametrize("start", range(0, CASES, CHUNK))
def test_a_random_network_and_loss_agree_with_plain_torch(start):
    for seed in range(start, start + CHUNK):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outputs = one_of([2, 3])
            network, inputs = composed(outputs)
            loss, targets, kind = one_of(losses(len(inputs[0]), outputs))
            batch_size = one_of([None, 1, 3, 4])
        data = (inputs if len(inputs) > 1 else inputs[0]), targets
        before = copy.deepcopy(network.state_dict())
        objective = kdl.Objective(network, loss, data, batch_size=batch_size)
        plain = Plain(network, loss, inputs, targets)
        theta = objective.theta
        v = torch.randn(objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        close(objective.value(theta), plain.mean(plain.outputs()).detach(), seed, "value")
        close(objective.grad(theta), plain.flat(plain.mean(plain.outputs())), seed, "gradient")
        close(kdl.hessian(objective, theta) @ v, plain.hessian(v), seed, "Hessian product")
        close(kdl.ggn(objective, theta) @ v, plain.ggn(v), seed, "Gauss-Newton product")
        if kind == "softmax":
            close(kdl.fisher(objective, theta) @ v, plain.ggn(v), seed, "Fisher product")
            close(
                kdl.empirical_fisher(objective, theta) @ v, plain.empirical_fisher(v), seed, "empirical Fisher product"
            )
        line = kdl.slice_line(objective, theta, v, x=[-0.1, 0.0, 0.1])
        for x, found in zip(line["x"].values.tolist(), line["loss"].values.tolist(), strict=True):
            torch.nn.utils.vector_to_parameters(theta + x * v, plain.parameters)
            close(torch.tensor(found, dtype=torch.float64), plain.mean(plain.outputs()).detach(), seed, f"slice at {x}")
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items()), seed
