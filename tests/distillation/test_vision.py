import pytest
import torch
from torch.func import functional_call

from kdlandscape.distillation import vision
from kdlandscape.distillation.networks import NETWORKS, random_thetas
from kdlandscape.distillation.predictions import logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill
from kdlandscape.landscape.params import Ravel

SMALL = {
    "lenet": ((1, 12, 12), {"channels": 1, "width": 3}),
    "preact_resnet": ((3, 8, 8), {"depth": 8, "width": 4, "channels": 3}),
    "vgg": ((3, 8, 8), {"width": 2, "channels": 3}),
    "transformer": ((1, 4, 4), {"width": 8, "depth": 1, "heads": 2}),
}


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_networks_have_the_sizes_of_the_literature():
    assert size(vision.lenet(784, 10)) == 61706
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (16 * 7 + 32 * 6 + 64 * 6 - 16 - 32 + 16 + 32)  # two a block, on the channels that enter each half
    shortcuts = 16 * 32 + 32 * 64
    assert abs(size(vision.preact_resnet(3072, 100)) - (convolutions + norms + shortcuts + 6500)) < 300
    for depth, millions in {20: 0.28, 56: 0.86, 110: 1.74}.items():
        assert size(vision.preact_resnet(3072, 100, depth=depth)) / 1e6 == pytest.approx(millions, abs=0.01)
    assert size(vision.vgg(3072, 10)) == 14_714_688 + 5130


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_of_networks_computes_what_each_computes_alone_and_learns(name):
    shape, settings = SMALL[name]
    inputs = torch.randn(24, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    module = NETWORKS[name](inputs[0].numel(), 3, **settings).double()
    thetas = random_thetas(module, [0, 1, 2])
    assert len({float(row.norm()) for row in thetas}) == 3
    together = logits(module, thetas, inputs)
    for theta, batch in zip(thetas, together, strict=True):
        alone = functional_call(module, Ravel.of(module).unravel(theta), inputs)
        torch.testing.assert_close(batch, alone.detach(), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(logits(module, thetas, inputs.flatten(1)), together)
    trained = distill(
        module, thetas[:2], thetas[2:].expand(2, -1), inputs, Recipe(epochs=3, batch_size=8, lr=3e-3, optimizer="adam"),
        generator=torch.Generator().manual_seed(0), temperature=4.0,
    )  # fmt: skip
    assert (trained.losses[-1] < trained.losses[0]).all()


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_each_normalization_trains_in_one_batch_and_keeps_the_fixed_point(norm):
    module = vision.preact_resnet(192, 3, depth=8, width=4, norm=norm)
    thetas = random_thetas(module, [0, 1])
    inputs = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    teachers = thetas[1:].expand(2, -1)
    trained = distill(module, thetas, teachers, inputs, Recipe(epochs=2, batch_size=10),
                      generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert torch.equal(trained.thetas[1], thetas[1])
    assert not torch.equal(trained.thetas[0], thetas[0])


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match="a depth of 6n \\+ 2, such as 20, 56 or 110; got 21"):
        vision.preact_resnet(3072, 10, depth=21)
    with pytest.raises(ValueError, match="norm to be none, group, batch for a pre-activation ResNet, got 'layer'"):
        vision.preact_resnet(3072, 10, norm="layer")
    with pytest.raises(ValueError, match="norm to be none, group, batch for VGG, got 'layer'"):
        vision.vgg(3072, 10, norm="layer")
    with pytest.raises(ValueError, match="3071 features to be a square image with 3 channels"):
        vision.vgg(3071, 10)
    with pytest.raises(ValueError, match="patch to divide 40 features and heads to divide width 30, got 4 and 4"):
        vision.transformer(40, 10, width=30)
