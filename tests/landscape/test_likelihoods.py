"""Gauss-Newton and Fisher matrices of every likelihood, against sums over the labels that a network expects."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import kdlandscape as kdl
from kdlandscape.landscape.objective import Objective
from tests import dense

N = 7
EXACT = {"rtol": 1e-9, "atol": 1e-12}


class Network(nn.Module):
    """Outputs of any shape (n, *shape)."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape
        self.body = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, math.prod(shape)))

    def forward(self, x):
        return self.body(x).view(-1, *self.shape)


def made(*shape, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(*shape).double(), torch.randn(N, 4, dtype=torch.float64)


def integers(count, *shape, seed=1):
    return torch.randint(count, (N, *shape), generator=torch.Generator().manual_seed(seed))


def jacobians(module, inputs):
    """One (outputs of the example, P) for every example."""
    rows = []
    for x in inputs:
        z = module(x[None]).flatten()
        grads = [torch.autograd.grad(one, list(module.parameters()), retain_graph=True) for one in z]
        rows.append(torch.stack([torch.cat([g.flatten() for g in parts]) for parts in grads]))
    return rows


def expected_outer(log_probability, z, outcomes):
    """E_y [g g'] with g the gradient of log p(y|z) and y running over all outcomes."""
    total = torch.zeros(z.numel(), z.numel(), dtype=z.dtype)
    for y in outcomes:
        at = z.detach().requires_grad_()
        log = log_probability(at, y)
        (g,) = torch.autograd.grad(log, at)
        total += log.detach().exp() * torch.outer(g.flatten(), g.flatten())
    return total


def fisher_of(module, inputs, log_probability, outcomes, weights=None, norm=None):
    weights = torch.ones(N, dtype=torch.float64) if weights is None else weights
    total = 0.0
    for x, jacobian, weight in zip(inputs, jacobians(module, inputs), weights, strict=True):
        if weight:
            total = (
                total + weight * jacobian.T @ expected_outer(log_probability, module(x[None])[0], outcomes) @ jacobian
            )
    return total / (weights.sum() if norm is None else norm)


def matrix(make, module, loss, data):
    a = make(Objective(module, loss, data), module)
    return a(torch.eye(a.dim, dtype=torch.float64))


def one_hot(y, count):
    return functional.one_hot(torch.tensor(y), count).double()


@pytest.mark.parametrize(
    ("axis", "loss"),
    [
        (1, nn.CrossEntropyLoss()),
        (2, lambda z, y: functional.cross_entropy(z.transpose(1, 2), y)),
        (2, lambda z, y: functional.cross_entropy(z.flatten(0, 1), y.flatten())),
    ],
)
def test_a_softmax_over_any_axis_with_places(axis, loss):
    shape = (3, 2) if axis == 1 else (2, 3)
    module, inputs = made(*shape)
    targets = integers(3, 2)

    def log_probability(z, y):
        logs = z.log_softmax(axis - 1).movedim(axis - 1, 0)
        return sum(logs[c, place] for place, c in enumerate(y))

    expected = fisher_of(module, inputs, log_probability, list(itertools.product(range(3), repeat=2))) / 2
    torch.testing.assert_close(matrix(kdl.fisher, module, loss, (inputs, targets)), expected, **EXACT)
    torch.testing.assert_close(matrix(kdl.ggn, module, loss, (inputs, targets)), expected, **EXACT)


def test_soft_labels_smoothing_weights_and_masks_of_a_softmax():
    module, inputs = made(3)
    classes = list(range(3))

    def log_probability(z, y):
        return z.log_softmax(0)[y]

    plain = fisher_of(module, inputs, log_probability, classes)
    soft = torch.rand(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    soft = soft / soft.sum(1, keepdim=True)
    for loss, targets in ((nn.CrossEntropyLoss(), soft), (nn.CrossEntropyLoss(label_smoothing=0.2), integers(3))):
        torch.testing.assert_close(matrix(kdl.fisher, module, loss, (inputs, targets)), plain, **EXACT)
    targets = integers(3)
    targets[::3] = -100
    weight = torch.tensor([0.5, 1.0, 3.0]).double()
    weights = torch.where(targets < 0, 0.0, weight[targets.clamp(min=0)])
    expected = fisher_of(module, inputs, log_probability, classes, weights)
    found = matrix(kdl.fisher, module, nn.CrossEntropyLoss(weight=weight), (inputs, targets))
    torch.testing.assert_close(found, expected, **EXACT)


def test_a_batch_of_which_nothing_counts_adds_nothing():
    module, inputs = made(3)
    targets = integers(3)
    targets[:4] = -100
    a = kdl.fisher(Objective(module, nn.CrossEntropyLoss(), (inputs, targets), batch_size=4), module)
    rest = matrix(kdl.fisher, module, nn.CrossEntropyLoss(), (inputs[4:], targets[4:]))
    torch.testing.assert_close(a(torch.eye(a.dim, dtype=torch.float64)), rest, **EXACT)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_independent_sigmoid_outputs(weighted, soft):
    module, inputs = made(3)
    targets = torch.rand(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = targets if soft else targets.round()
    weight, positive = torch.tensor([0.5, 1.0, 2.0]).double(), torch.tensor([1.0, 3.0, 0.2]).double()
    loss = nn.BCEWithLogitsLoss(weight=weight, pos_weight=positive) if weighted else nn.BCEWithLogitsLoss()
    factor = weight * (1 + (positive - 1) * targets) if weighted else torch.ones(N, 3, dtype=torch.float64)
    total = 0.0
    for x, jacobian, s in zip(inputs, jacobians(module, inputs), factor, strict=True):
        for j in range(3):

            def log_probability(z, y, j=j):
                return functional.logsigmoid(z[j] if y else -z[j])

            inner = expected_outer(log_probability, module(x[None])[0], [0, 1])
            total = total + s[j] * jacobian.T @ inner @ jacobian
    expected = total / (3 * N)
    torch.testing.assert_close(matrix(kdl.fisher, module, loss, (inputs, targets)), expected, **EXACT)
    torch.testing.assert_close(matrix(kdl.ggn, module, loss, (inputs, targets)), expected, **EXACT)


def test_one_logit_without_an_axis_is_a_bernoulli_too():
    module, inputs = made(1)
    flat = nn.Sequential(module, nn.Flatten(0))
    targets = integers(2).double()

    def log_probability(z, y):
        return functional.logsigmoid(z[0] if y else -z[0])

    expected = fisher_of(module, inputs, log_probability, [0, 1])
    torch.testing.assert_close(matrix(kdl.fisher, flat, nn.BCEWithLogitsLoss(), (inputs, targets)), expected, **EXACT)


def test_masked_pixels_of_a_sigmoid_loss():
    module, inputs = made(3)
    targets = integers(2, 3).double()
    mask = integers(2, 3, seed=5).double()

    def loss(z, y):
        each = functional.binary_cross_entropy_with_logits(z, y[..., 0], reduction="none") * y[..., 1]
        return each.sum(), y[..., 1].sum()

    data = (inputs, torch.stack([targets, mask], -1))
    total = 0.0
    for x, jacobian, m in zip(inputs, jacobians(module, inputs), mask, strict=True):
        p = module(x[None])[0].detach().sigmoid()
        total = total + jacobian.T @ torch.diag(m * p * (1 - p)) @ jacobian
    found = matrix(kdl.fisher, module, loss, data)
    torch.testing.assert_close(found, total / mask.sum(), **EXACT)


@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_a_sum_of_squares_is_a_gaussian_whose_fisher_matrix_is_its_gauss_newton_matrix(shape):
    module, inputs = made(*shape)
    targets = torch.randn(N, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    size = math.prod(shape)
    expected = sum(2 / size * jacobian.T @ jacobian for jacobian in jacobians(module, inputs)) / N
    for make in (kdl.fisher, kdl.ggn):
        torch.testing.assert_close(matrix(make, module, nn.MSELoss(), (inputs, targets)), expected, **EXACT)


def test_counts_with_a_logarithmic_rate():
    module, inputs = made(2)
    targets = integers(4, 2).double()
    found = matrix(kdl.fisher, module, nn.PoissonNLLLoss(), (inputs, targets))
    expected = 0.0
    for x, jacobian in zip(inputs, jacobians(module, inputs), strict=True):
        rate = module(x[None])[0].detach().exp()
        g = torch.arange(60, dtype=torch.float64)[:, None] - rate  # of log p(y|z) for y = 0, 1, ...
        logs = (
            torch.arange(60, dtype=torch.float64)[:, None] * rate.log()
            - rate
            - torch.lgamma(torch.arange(1.0, 61.0).double())[:, None]
        )
        expected = expected + jacobian.T @ torch.diag((logs.exp() * g**2).sum(0)) @ jacobian
    torch.testing.assert_close(found, expected / (2 * N), rtol=1e-8, atol=1e-12)


def test_log_probabilities_have_the_fisher_matrix_of_their_logits_and_no_gauss_newton_matrix():
    module, inputs = made(3)
    ended = nn.Sequential(module, nn.LogSoftmax(1))
    targets = integers(3)
    targets[0] = -100
    expected = matrix(kdl.fisher, module, nn.CrossEntropyLoss(), (inputs, targets))
    torch.testing.assert_close(matrix(kdl.fisher, ended, nn.NLLLoss(), (inputs, targets)), expected, **EXACT)
    with pytest.raises(ValueError, match="ggn is zero, since the loss is linear in the outputs: expected logits"):
        kdl.ggn(Objective(ended, nn.NLLLoss(), (inputs, targets)), ended)
    with pytest.raises(ValueError, match="fisher is zero, since the loss is linear"):
        kdl.fisher(Objective(module, lambda z, y: z.sum(1), (inputs, targets)), module)


def test_masked_classes_count_for_nothing():
    module, inputs = made(4)
    mask = torch.tensor([0.0, 0.0, 0.0, -torch.inf]).double()
    targets = integers(3)

    def loss(z, y):
        return functional.cross_entropy(z + mask, y)

    expected = dense.ggn(
        module, lambda z, y: functional.cross_entropy(z[:, :3], y), (inputs, targets), dense.theta_of(module)
    )
    torch.testing.assert_close(matrix(kdl.ggn, module, loss, (inputs, targets)), expected, **EXACT)


def test_a_loss_of_straight_pieces_has_a_gauss_newton_matrix_of_zero_there():
    module, inputs = made(3)
    far = torch.where(torch.arange(N) < 3, 0.0, 0.5)[:, None].double().expand(N, 3)
    data, loss = (inputs, far), nn.HuberLoss(delta=0.4)
    expected = dense.ggn(module, loss, data, dense.theta_of(module))
    a = kdl.ggn(Objective(module, loss, data, batch_size=1), module)
    torch.testing.assert_close(a(torch.eye(a.dim, dtype=torch.float64)), expected, **EXACT)


def tempered(z, y):
    return functional.cross_entropy(z / 4, y, reduction="none")


def test_a_likelihood_that_is_not_recognized_is_refused_with_a_way_out_that_works():
    module, inputs = made(3)
    data = (inputs, integers(3))
    with pytest.raises(
        ValueError, match=r"got another loss\. Use ggn or empirical_fisher; .* loss\.is_likelihood = True"
    ):
        matrix(kdl.fisher, module, tempered, data)

    def declared(z, y):
        return tempered(z, y)

    declared.is_likelihood = True
    expected = fisher_of(module, inputs, lambda z, y: (z / 4).log_softmax(0)[y], range(3))
    torch.testing.assert_close(matrix(kdl.fisher, module, declared, data), expected, **EXACT)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: functional.cross_entropy(z, y, reduction="none") ** 2,
        lambda z, y: (1 - z.softmax(1).gather(1, y[:, None])[:, 0]) ** 2,
        lambda z, y: functional.huber_loss(z, functional.one_hot(y, 3).to(z), delta=0.3),
    ],
    ids=["square", "focal", "huber"],
)
def test_a_loss_that_is_no_likelihood_has_no_fisher_matrix(loss):
    module, inputs = made(3)
    with pytest.raises(ValueError, match="negative log likelihood"):
        matrix(kdl.fisher, module, loss, (inputs, integers(3)))
