"""Recurrence by its plain formula is torch's, and has the derivatives and the batching that fused kernels lack."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._pytree import tree_leaves

from kdlandscape.landscape.plain_layers import plain_recurrence

LAYERS = [
    (nn.LSTM, {}),
    (nn.LSTM, {"proj_size": 2}),
    (nn.GRU, {}),
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
]
SHAPES = [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}]
CELLS = [nn.LSTMCell, nn.GRUCell, nn.RNNCell]


def leaves(outputs):
    parts = tree_leaves(outputs, is_leaf=lambda leaf: isinstance(leaf, PackedSequence))
    return [part.data if isinstance(part, PackedSequence) else part for part in parts]


@pytest.mark.parametrize(("make", "shape"), list(itertools.product(LAYERS, SHAPES)), ids=str)
def test_every_layer_gives_what_torch_gives(make, shape):
    layer = make[0](3, 4, dtype=torch.float64, **make[1], **shape)
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    lengths = [6, 5, 3, 3, 1] if layer.batch_first else [5, 5, 4, 2, 2, 1]
    for given in (x, x[0], pack_padded_sequence(x, lengths, batch_first=layer.batch_first)):
        expected = leaves(layer(given))
        with plain_recurrence():
            found = leaves(layer(given))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", CELLS)
def test_every_cell_gives_what_torch_gives(make, bias):
    cell, x = make(3, 4, bias=bias, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    expected = leaves(cell(x))
    with plain_recurrence():
        torch.testing.assert_close(leaves(cell(x)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, *CELLS])
def test_it_has_forward_derivatives_and_runs_many_networks_at_once(make):
    layer, x = make(3, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    moves = [torch.randn_like(parameter) for parameter in parameters]

    def run(*tensors):
        return leaves(functional_call(layer, dict(zip(names, tensors, strict=True)), x))[0]

    h = 1e-6
    quotient = (run(*(p + h * m for p, m in zip(parameters, moves, strict=True))) - run(*parameters)) / h
    with plain_recurrence(), torch.no_grad():
        moved = jvp(run, parameters, tuple(moves))[1]
        both = vmap(run)(*(torch.stack([p, p + m]) for p, m in zip(parameters, moves, strict=True)))
    torch.testing.assert_close(moved, quotient.detach(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(both[0], run(*parameters).detach(), rtol=1e-12, atol=1e-12)
