"""Networks drawn at random from layers that cut, join, shuffle, gate and group their channels."""

import copy
import random

import pytest
import torch
from torch import nn

from kdlandscape.landscape.permutations.alignment import align, full_state
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from tests.landscape.networks_with_units import Net
from tests.landscape.test_permutations import seeded

SEEDS = 60


def halves(net, x):
    a, b = x.chunk(2, 1)
    return a * b.tanh()


def turned(net, x):
    return torch.cat(x.chunk(2, 1)[::-1], 1)


def squeezed(net, x):
    return x * torch.sigmoid(net.gate(x.mean((2, 3))))[:, :, None, None]


def shuffle(groups):
    def forward(net, x):
        n, c, *places = x.shape
        return x.view(n, groups, c // groups, *places).transpose(1, 2).reshape(x.shape)

    return Net(forward)


def divisor(r, c, choices):
    return r.choice([g for g in choices if c % g == 0])


def conv(c, n, **settings):
    return nn.Conv2d(c, n, 3, padding=1, **settings)


def residual(r, c):
    return Net(lambda net, x: x + net.b(net.a(x).relu()), a=conv(c, c), b=nn.Conv2d(c, c, 1)), c


def dense(r, c):
    return Net(lambda net, x: torch.cat([net.a(x), x], 1), a=conv(c, 4)), c + 4


def gated(r, c):
    return Net(lambda net, x: net.a(x) * torch.sigmoid(net.b(x)), a=nn.Conv2d(c, 6, 1), b=nn.Conv2d(c, 6, 1)), 6


def side_by_side(r, c):
    parts = {"a": nn.Conv2d(c, 4, 1), "b": nn.Conv2d(c, 4, 1)}
    return Net(lambda net, x: torch.stack([net.a(x), net.b(x)], 1).flatten(1, 2), **parts), 8


def grouped(r, c):
    g = divisor(r, c, (1, 2, 3, 4))
    n = g * r.choice([1, 2, 3])
    return conv(c, n, groups=g), n


def transposed(r, c):
    g = divisor(r, c, (1, 2))
    return nn.ConvTranspose2d(c, 3 * g, 3, padding=1, groups=g), 3 * g


def plain(r, c):
    n = r.choice([4, 6, 8, 12])
    return conv(c, n, bias=r.random() < 0.7), n


LAYERS = [
    plain,
    plain,
    residual,
    dense,
    gated,
    side_by_side,
    grouped,
    transposed,
    lambda r, c: (nn.BatchNorm2d(c), c),
    lambda r, c: (nn.GroupNorm(divisor(r, c, (1, 2, 3, 4, c)), c), c),
    lambda r, c: (nn.LayerNorm([c, 4, 4]), c),
    lambda r, c: (r.choice([nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU, nn.Hardtanh])(), c),
    lambda r, c: (r.choice([nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1)]), c),
    lambda r, c: (conv(c, c, groups=c), c),
    lambda r, c: (shuffle(divisor(r, c, (1, 2, 3, 4))), c),
    lambda r, c: (Net(squeezed, gate=nn.Linear(c, c)), c),
    lambda r, c: (Net(halves), c // 2) if c % 2 == 0 and c > 2 else (nn.Identity(), c),
    lambda r, c: (Net(turned), c) if c % 2 == 0 else (nn.Identity(), c),
    lambda r, c: (Net(lambda net, x: x[:, 1:]), c - 1) if c > 3 else (nn.Identity(), c),
]
HEADS = [
    lambda c: (nn.Flatten(), nn.Linear(16 * c, 3)),
    lambda c: (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 5), nn.ReLU(), nn.Linear(5, 3)),
    lambda c: (nn.Conv2d(c, 2, 1),),
]


def draw(seed):
    """Return a network and its inputs; the same seed gives the same network."""
    r, c, layers = random.Random(seed), 3, []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(r.randint(2, 6)):
            layer, c = r.choice(LAYERS)(r, c)
            layers.append(layer)
        network = nn.Sequential(*layers, *r.choice(HEADS)(c)).double().eval()
        for tensor in network.parameters():
            tensor.data += 0.3 * torch.randn_like(tensor)
        for tensor in network.buffers():
            if tensor.is_floating_point():
                tensor += torch.rand_like(tensor)
        return network, torch.randn(3, 3, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_units_of_a_random_network_are_put_back_exactly_or_refused_by_name(seed):
    network, inputs = draw(seed)
    try:
        symmetry = trace_symmetry(network, inputs)
    except ValueError as error:
        assert "cannot derive the permutations of the" in str(error)  # noqa: PT017
        assert "in layer" in str(error)  # noqa: PT017
        return
    own = full_state(network, network)
    permuted = symmetry.permute(own, symmetry.random(seeded(seed)))
    other = copy.deepcopy(network)
    other.load_state_dict(permuted)
    with torch.no_grad():
        expected = network(inputs)
        assert (other(inputs) - expected).abs().max() < 1e-10 * max(1, expected.abs().max())
    found = align(network, network, permuted, inputs=inputs)
    assert all(torch.equal(found[key], own[key]) for key in own)
