"""Second derivatives of convolutions: torch's numbers, by convolutions whose kernels are as small as the layer's."""

import pytest
import torch
from torch import nn
from torch.func import grad, vjp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from kdlandscape.landscape.curvature.convolutions import twice_differentiable

LEFT_TO_TORCH = nn.Conv2d(4, 2, 2, padding="same")  # which pads more on one side than on the other
LAYERS = [
    nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
    nn.Conv2d(4, 6, 3, padding=1, bias=False),
    nn.Conv2d(4, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(0, 1), groups=4),
    nn.Conv2d(4, 2, 3, padding="same"),
    LEFT_TO_TORCH,
    nn.Conv2d(4, 2, 3, padding="valid"),
    nn.ConvTranspose1d(4, 2, 3, stride=2),
    nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, output_padding=(1, 2), groups=2, dilation=2),
    nn.ConvTranspose3d(4, 2, 2, bias=False),
    nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"),
    nn.Conv3d(4, 2, 2),
]


class Kernels(TorchDispatchMode):
    """Notes how large the kernel of every convolution is."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.sizes.append(tuple(args[1].shape[2:]))
        return function(*args, **(kwargs or {}))


def problem(layer, dims):
    torch.manual_seed(0)
    layer = layer.double()
    x = torch.randn(3, 4, *[9] * dims, dtype=torch.float64, requires_grad=True)
    wanted = [x, *layer.parameters()]
    return layer, x, wanted, [torch.randn_like(part) for part in wanted]


def second(layer, x, wanted, along):
    first = torch.autograd.grad(layer(x).sin().sum(), wanted, create_graph=True)
    return torch.autograd.grad(first, wanted, along)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_second_derivatives_are_those_of_torch(layer):
    dims = len(layer.kernel_size)
    given = problem(layer, dims)
    expected = second(*given)
    with twice_differentiable():
        torch.testing.assert_close(second(*given), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("which", [(True, False), (False, True)], ids=["input", "weight"])
def test_of_one_argument_alone(which):
    layer, x, wanted, along = problem(LAYERS[1], 2)
    chosen = [part for part, take in zip(wanted, which, strict=True) if take]
    moves = [part for part, take in zip(along, which, strict=True) if take]
    for part, take in zip(wanted, which, strict=True):
        part.requires_grad_(take)
    try:
        expected = second(layer, x, chosen, moves)
        with twice_differentiable():
            torch.testing.assert_close(second(layer, x, chosen, moves), expected, rtol=1e-10, atol=1e-10)
    finally:
        layer.requires_grad_(True)


@pytest.mark.parametrize("layer", [one for one in LAYERS if one is not LEFT_TO_TORCH], ids=str)
def test_no_kernel_is_as_large_as_the_image(layer):
    given = problem(layer, len(layer.kernel_size))
    with Kernels() as plain:
        second(*given)
    with Kernels() as ours, twice_differentiable():
        second(*given)
    assert max(plain.sizes) > layer.kernel_size  # what torch does by itself, and why this is here
    assert set(ours.sizes) == {layer.kernel_size}


def test_inside_transforms():
    layer, x, _, along = problem(LAYERS[1], 2)

    def slope(w):
        return grad(lambda w: torch.conv2d(x.detach(), w, padding=1).sin().sum())(w)

    w = layer.weight.detach()
    expected = vjp(slope, w)[1](along[1])[0]
    with twice_differentiable():
        torch.testing.assert_close(vjp(slope, w)[1](along[1])[0], expected, rtol=1e-10, atol=1e-10)
        rows = vmap(lambda w: vjp(slope, w)[1](along[1])[0])(torch.stack([w, w + 1]))
    torch.testing.assert_close(rows[0], expected, rtol=1e-10, atol=1e-10)


def test_autocast_is_left_to_torch():
    layer, x = nn.Conv2d(4, 2, 3), torch.randn(3, 4, 9, 9)
    with torch.autocast("cpu", torch.bfloat16), twice_differentiable():
        assert layer(x).dtype == torch.bfloat16
