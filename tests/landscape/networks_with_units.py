"""Networks of many kinds with the groups of units they have: name -> (network, inputs, sizes of the groups)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

ENCODER = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True}


class Net(nn.Module):
    """Layers by name, and a forward written as a function of (self, inputs)."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(self, *inputs)


def conv(*sizes: int, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(*sizes, 3, padding=1, **settings)


def dense(net, x):
    for layer in (net.a, net.b, net.c):
        x = torch.cat([x, layer(x).relu()], 1)
    return net.head(x.mean((2, 3)))


def unet(net, x):
    a = net.a(x).relu()
    b = net.b(functional.max_pool2d(a, 2)).relu()
    return net.head(torch.cat([a, functional.interpolate(b, scale_factor=2, mode="bilinear")], 1))


def shortcut(net, x):
    x = net.a(x).relu()
    padded = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
    return net.head((padded + net.b(x).relu()).relu().mean((2, 3)))


def written_in_place(net, x):
    x = net.a(x).relu()
    y = net.b(x).relu()
    z = torch.zeros_like(y)
    z[:, 1:5] = x[:, :, ::2, ::2]
    return net.head((z + y).relu().mean((2, 3)))


def chunks(net, x):
    a, b = net.a(x).chunk(2, -1)
    return net.head(a * torch.sigmoid(b))


def shuffled(net, x):
    x = net.b(net.a(x).relu()).relu()
    n, c, *places = x.shape
    x = x.view(n, 2, c // 2, *places).transpose(1, 2).reshape(n, c, *places)
    return net.head(net.c(x).relu().mean((2, 3)))


def class_token(net, x):
    x = torch.cat([net.token.expand(len(x), -1, -1), net.a(x)], 1) + net.places
    return net.head(net.encoder(x)[:, 0])


def rotated(net, x):
    """Attention with fused queries, keys and values, and rotated queries and keys (RoPE)."""
    n, t, _ = x.shape
    q, k, v = net.qkv(x).view(n, t, 3, 2, 6).permute(2, 0, 3, 1, 4).unbind(0)
    angles = torch.arange(t)[:, None] * torch.tensor([1.0, 0.1, 0.01], dtype=x.dtype)
    cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)

    def turned(z):
        a, b = z.chunk(2, -1)
        return z * cos + torch.cat([-b, a], -1) * sin

    y = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
    return net.head(net.out(y.transpose(1, 2).reshape(n, t, 12)).relu())


def grouped_queries(net, x):
    n, t, _ = x.shape
    q, k, v = (f(x).view(n, t, -1, 3).transpose(1, 2) for f in (net.q, net.k, net.v))
    y = functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    return net.head(y.transpose(1, 2).reshape(n, t, 12).relu())


def experts(net, x):
    share = net.route(x).softmax(-1)
    each = torch.einsum("bi,eio->beo", x, net.weights).relu()
    return net.head(torch.einsum("be,beo->bo", share, each))


def messages(net, x):
    sent = net.a(x)[torch.tensor([0, 1, 2, 3])].relu()
    return net.head(torch.zeros(4, 6, dtype=x.dtype).index_add(0, torch.tensor([1, 2, 3, 0]), sent))


def steps(net, x):
    h = torch.zeros(len(x), 4, dtype=x.dtype)
    c, seen = torch.zeros_like(h), torch.zeros(len(x), x.shape[1], 4, dtype=x.dtype)
    for t in range(x.shape[1]):
        h, c = net.cell(x[:, t], (h, c))
        seen[:, t] = h
    return net.head(seen.mean(1))


class NormAndActivation(nn.BatchNorm2d):
    """A fused layer, as efficient networks for images have it."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(super().forward(x))


def mixed(net, x):
    return net.head((x + net.d(net.c(x.transpose(1, 2)).relu()).transpose(1, 2)).mean(1))


def last(net, x):
    return net.head(net.cell(x)[0][:, -1])


def two(net, x):
    return net.b(net.a(x).relu()), {"means": net.a(x).mean(-1)}


def fused(net, x):
    return net.b(functional.layer_norm(functional.gelu(net.a(x)), (6,)))


def normed(net, x):
    return net.b(functional.group_norm(functional.gelu(net.a(x)), 3))


def low_rank(net, x):
    return net.head(functional.linear(x, net.weight + net.up @ net.down).tanh())


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def after(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Net(lambda net, x: net.b(function(net.a(x))), a=nn.Linear(5, 6), b=nn.Linear(6, 3))


def normalized(norm: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: sequence(norm(nn.Linear(5, 6)), nn.Tanh(), norm(nn.Linear(6, 7)), nn.Tanh(), nn.Linear(7, 3))


def recurrent(cell: type[nn.Module], **settings: Any) -> Callable[[], nn.Module]:
    width = settings.get("proj_size") or 4
    width *= 1 + settings.get("bidirectional", False)
    return lambda: Net(last, cell=cell(3, 4, batch_first=True, **settings), head=nn.Linear(width, 3))


def attention(**settings: Any) -> Callable[[], nn.Module]:
    cell = lambda: nn.MultiheadAttention(8, 2, kdim=5, vdim=5, batch_first=True, **settings)  # noqa: E731
    forward = lambda net, x: net.head(net.cell(net.a(x), x, x)[0])  # noqa: E731
    return lambda: Net(forward, a=nn.Linear(5, 8), cell=cell(), head=nn.Linear(8, 3))


#: name -> (network, shape of its inputs, sizes of its groups; a group inside others with theirs in front).
KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[tuple[int, ...]]]] = {
    "concatenation": (
        lambda: Net(dense, a=conv(3, 4), b=conv(7, 4), c=conv(11, 4), head=nn.Linear(15, 3)),
        (2, 3, 6, 6),
        [(4,), (4,), (4,)],
    ),
    "upsampling": (
        lambda: Net(unet, a=conv(3, 4), b=conv(4, 6), head=nn.Conv2d(10, 2, 1)),
        (2, 3, 8, 8),
        [(4,), (6,)],
    ),
    "pad_and_slice": (
        lambda: Net(shortcut, a=conv(3, 4), b=conv(4, 6, stride=2), head=nn.Linear(6, 3)),
        (2, 3, 8, 8),
        [(4,)],
    ),
    "written_in_place": (
        lambda: Net(written_in_place, a=conv(3, 4), b=conv(4, 6, stride=2), head=nn.Linear(6, 3)),
        (2, 3, 8, 8),
        [(4,)],
    ),
    "glu": (lambda: sequence(nn.Linear(5, 12), nn.GLU(), nn.Linear(6, 3)), (4, 5), [(6,)]),
    "chunks": (lambda: Net(chunks, a=nn.Linear(5, 12), head=nn.Linear(6, 3)), (4, 5), [(6,)]),
    "grouped_convolution": (
        lambda: sequence(conv(3, 8), nn.ReLU(), conv(8, 12, groups=4), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 16, 3)),
        (4, 3, 4, 4),
        [(4,), (4, 2), (4, 3)],
    ),
    "grouped_transposed": (
        lambda: sequence(
            nn.Conv1d(2, 6, 3), nn.ELU(), nn.ConvTranspose1d(6, 4, 3, groups=2), nn.ELU(), nn.Conv1d(4, 2, 1)
        ),
        (2, 2, 8),
        [(2,), (2, 2), (2, 3)],
    ),
    "groups_of_channels": (
        lambda: sequence(conv(3, 8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3)),
        (4, 3, 4, 4),
        [(2,), (2, 4)],
    ),
    "shuffled_channels": (
        lambda: Net(shuffled, a=conv(3, 8), b=conv(8, 12, groups=2), c=conv(12, 12, groups=2), head=nn.Linear(12, 3)),
        (2, 3, 4, 4),
        [(2,), (2,), (2, 4), (2, 6), (3,)],
    ),
    "weight_norm": (normalized(parametrizations.weight_norm), (4, 5), [(6,), (7,)]),
    "spectral_norm": (normalized(parametrizations.spectral_norm), (4, 5), [(6,), (7,)]),
    "log_softmax": (
        lambda: sequence(nn.Linear(5, 6), nn.SELU(), nn.Linear(6, 3), nn.LogSoftmax(-1)),
        (4, 5),
        [(6,)],
    ),
    "sine": (after(torch.sin), (4, 5), [(6,)]),
    "erf_and_power": (after(lambda x: torch.erf(x) + x**3 / (1 + x.abs())), (4, 5), [(6,)]),
    "sorted": (after(lambda x: x.sort(-1)[0]), (4, 5), [(6,)]),
    "spectrum_over_time": (after(lambda x: torch.fft.rfft(x, dim=1).abs()), (4, 7, 5), [(6,)]),
    "sums_over_time": (after(lambda x: x.cumsum(1)), (4, 7, 5), [(6,)]),
    "functional_layer_norm": (lambda: Net(fused, a=nn.Linear(5, 6), b=nn.Linear(6, 3)), (4, 5), [(6,)]),
    "functional_group_norm": (lambda: Net(normed, a=nn.Linear(5, 6), b=nn.Linear(6, 3)), (4, 5), [(3,), (3, 2)]),
    "distances": (
        lambda: Net(
            lambda net, x: net.head(torch.cdist(net.a(x), net.centres)),
            a=nn.Linear(5, 6),
            centres=nn.Parameter(torch.randn(7, 6)),
            head=nn.Linear(7, 3),
        ),
        (4, 5),
        [(6,), (7,)],
    ),
    "maxout": (
        lambda: Net(lambda net, x: net.b(net.a(x).view(4, 6, 2).max(-1)[0]), a=nn.Linear(5, 12), b=nn.Linear(6, 3)),
        (4, 5),
        [(6,), (6, 2)],
    ),
    "two_outputs": (lambda: Net(two, a=nn.Linear(5, 6), b=nn.Linear(6, 3)), (4, 5), [(6,)]),
    "head_first": (
        lambda: Net(lambda net, x: net.head(net.a(x).relu()), head=nn.Linear(6, 3), a=nn.Linear(5, 6)),
        (4, 5),
        [(6,)],
    ),
    "bilinear": (
        lambda: Net(
            lambda net, x: net.head(net.c(net.a(x), net.b(x)).tanh()),
            a=nn.Linear(5, 6),
            b=nn.Linear(5, 4),
            c=nn.Bilinear(6, 4, 7),
            head=nn.Linear(7, 3),
        ),
        (4, 5),
        [(4,), (6,), (7,)],
    ),
    "low_rank": (
        lambda: Net(
            low_rank,
            weight=nn.Parameter(torch.randn(6, 5)),
            up=nn.Parameter(torch.randn(6, 2)),
            down=nn.Parameter(torch.randn(2, 5)),
            head=nn.Linear(6, 3),
        ),
        (4, 5),
        [(2,), (6,)],
    ),
    "pixel_shuffle": (
        lambda: sequence(conv(3, 16), nn.ReLU(), nn.PixelShuffle(2), conv(4, 3)),
        (2, 3, 4, 4),
        [(4,)],
    ),
    "mixer": (
        lambda: Net(mixed, c=nn.Linear(7, 9), d=nn.Linear(9, 7), head=nn.Linear(5, 3)),
        (4, 7, 5),
        [(9,)],
    ),
    "lstm": (recurrent(nn.LSTM, num_layers=2, bidirectional=True), (2, 5, 3), [(4,)] * 4),
    "lstm_projected": (recurrent(nn.LSTM, proj_size=2), (2, 5, 3), [(2,), (4,)]),
    "gru": (recurrent(nn.GRU, num_layers=2), (2, 5, 3), [(4,)] * 2),
    "rnn": (recurrent(nn.RNN), (2, 5, 3), [(4,)]),
    "attention_of_other_keys": (attention(add_bias_kv=True), (4, 7, 5), [(2,), (2, 4), (2, 4), (8,), (8,)]),
    "rotated_attention": (
        lambda: Net(rotated, qkv=nn.Linear(5, 36), out=nn.Linear(12, 8), head=nn.Linear(8, 3)),
        (2, 4, 5),
        [(2,), (2, 6), (8,)],
    ),
    "grouped_queries": (
        lambda: Net(grouped_queries, q=nn.Linear(5, 12), k=nn.Linear(5, 6), v=nn.Linear(5, 6), head=nn.Linear(12, 3)),
        (2, 4, 5),
        [(2,), (2, 2), (2, 3), (2, 3)],
    ),
    "experts": (
        lambda: Net(experts, route=nn.Linear(5, 3), weights=nn.Parameter(torch.randn(3, 5, 4)), head=nn.Linear(4, 3)),
        (4, 5),
        [(3,), (4,)],
    ),
    "messages": (lambda: Net(messages, a=nn.Linear(5, 6), head=nn.Linear(6, 3)), (4, 5), [(6,)]),
    "cells": (lambda: Net(steps, cell=nn.LSTMCell(3, 4), head=nn.Linear(4, 3)), (2, 5, 3), [(4,)]),
    "norm_and_activation": (
        lambda: sequence(conv(3, 4), NormAndActivation(4), conv(4, 5), nn.Flatten(), nn.Linear(80, 3)),
        (2, 3, 4, 4),
        [(4,), (5,)],
    ),
    "encoder_layer": (
        lambda: sequence(nn.Linear(5, 8), nn.TransformerEncoderLayer(**ENCODER), nn.Linear(8, 3)),
        (2, 6, 5),
        [(2,), (2, 4), (2, 4), (8,), (16,)],
    ),
    "class_token": (
        lambda: Net(
            class_token,
            a=nn.Linear(5, 8),
            token=nn.Parameter(torch.randn(1, 1, 8)),
            places=nn.Parameter(torch.randn(1, 7, 8)),
            encoder=nn.TransformerEncoder(nn.TransformerEncoderLayer(**ENCODER), 2, enable_nested_tensor=False),
            head=nn.Linear(8, 3),
        ),
        (2, 6, 5),
        [(2,), (2,), (2, 4), (2, 4), (2, 4), (2, 4), (8,), (16,), (16,)],
    ),
}


def kind(name: str) -> tuple[nn.Module, Tensor, list[tuple[int, ...]]]:
    """Return a network in float64 and eval mode, its inputs, and the sizes of its groups."""
    make, shape, sizes = KINDS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make().double().eval()
        for parameter in network.parameters():  # norms start with equal units, and projections at zero
            parameter.data += 0.3 * torch.randn_like(parameter)
    return network, torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64), sizes


def published(name: str) -> tuple[nn.Module, Any, list[tuple[int, ...]]]:
    """Return a small network of `transformers` with random weights, its inputs, and the sizes of its groups."""
    import transformers

    tokens = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(0))
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 10}
    text = {"vocab_size": 50, "max_position_embeddings": 16, "pad_token_id": 0}
    block = [(3,), (3, 4), (3, 4), (10,), (12,)]
    made: dict[str, tuple[Callable[[], nn.Module], Any, list[tuple[int, ...]]]] = {
        "gpt2": (
            lambda: transformers.GPT2LMHeadModel(
                transformers.GPT2Config(
                    vocab_size=50, n_positions=16, n_embd=12, n_layer=1, n_head=3, n_inner=10, bos_token_id=0,
                    eos_token_id=0,
                )
            ),
            tokens,
            block,
        ),
        "bert": (
            lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**size, **text)),
            {"input_ids": tokens, "attention_mask": (tokens > 5).long()},
            [*block, (12,)],
        ),
        "vit": (
            lambda: transformers.ViTForImageClassification(
                transformers.ViTConfig(**size, image_size=8, patch_size=4)
            ),
            images,
            block,
        ),
        "llama": (
            lambda: transformers.LlamaForCausalLM(
                transformers.LlamaConfig(
                    **{**size, "hidden_size": 16, "num_attention_heads": 4}, **text, num_key_value_heads=2,
                    bos_token_id=0, eos_token_id=0,
                )
            ),
            tokens,
            [(2,), (2, 2), (2, 4), (10,), (16,)],
        ),
        "convnext": (
            lambda: transformers.ConvNextForImageClassification(
                transformers.ConvNextConfig(hidden_sizes=[4, 6], depths=[1, 1], num_stages=2, patch_size=2)
            ),
            images,
            [(4,), (6,), (16,), (24,)],
        ),
        "t5": (
            lambda: transformers.T5ForConditionalGeneration(
                transformers.T5Config(
                    vocab_size=50, d_model=12, d_kv=4, d_ff=10, num_layers=1, num_heads=3, decoder_start_token_id=0
                )
            ),
            {"input_ids": tokens, "decoder_input_ids": tokens},
            [(3,)] * 3 + [(3, 4)] * 6 + [(10,), (10,), (12,)],
        ),
    }  # fmt: skip
    make, inputs, sizes = made[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make().double().eval()
        for parameter in network.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return network, inputs, sizes


PUBLISHED = ("gpt2", "bert", "vit", "llama", "convnext", "t5")
