import pytest
import torch

import kdlandscape as kdl
from kdlandscape.distillation import networks
from kdlandscape.distillation.partners import permuted_copy, train_partners
from kdlandscape.distillation.predictions import logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import train


def test_every_partner_starts_where_its_name_says():
    network = networks.mlp(6, 3, width=8)
    inputs = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    start, targets = networks.random_thetas(network, [40, 41]), inputs[:, :3].argmax(1)
    recipe = Recipe(epochs=20, lr=0.1)
    teacher, independent = train(
        network, start, inputs, targets, recipe, generator=torch.Generator().manual_seed(0)
    ).thetas
    found = train_partners(
        network, inputs, teacher, independent, Recipe(epochs=20, lr=0.05),
        seed=2, teacher_seed=4, init_lambda=[0.0, 0.5, 1.0], temperature=4.0, record_every=10,
    )  # fmt: skip
    names = ["λ = 0", "λ = 0.5", "λ = 1", "same init", "permuted, re-distilled", "independent student", "hard labels"]
    assert found.names == [*names, "independent", "permuted teacher"]
    random, elsewhere, born = networks.random_thetas(network, [1_000_002, 2_000_002, 4])
    expected = dict(zip(found.names, found.starts, strict=True))
    wanted = {"λ = 0": random, "λ = 0.5": (random + teacher) / 2, "λ = 1": teacher, "same init": born}
    wanted |= {"independent student": elsewhere, "hard labels": random, "independent": independent}
    for name, start in wanted.items():
        torch.testing.assert_close(expected[name], start)
    assert found.steps == (0, 10, 20)
    torch.testing.assert_close(found.trajectory[0], found.starts[:-2])
    assert torch.equal(found.trajectory[-1], found.thetas[:-2])
    assert torch.equal(found.thetas[2], teacher)
    assert torch.equal(found.thetas[-2], independent)
    labels = logits(network, teacher[None], inputs)[0].argmax(-1)
    agreement = (logits(network, found.thetas, inputs).argmax(-1) == labels).float().mean(1)
    assert agreement[6] > (logits(network, random[None], inputs)[0].argmax(-1) == labels).float().mean() + 0.2
    assert agreement[2] == agreement[8] == 1


def test_the_permuted_teacher_is_the_same_function_in_another_order_of_units():
    network = networks.mlp(6, 3, width=8)
    theta = networks.random_thetas(network, [0])[0]
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    copy = permuted_copy(network, theta, inputs, generator=torch.Generator().manual_seed(1))
    assert (copy.thetas[0] - theta).norm() > 0.5 * theta.norm()
    torch.testing.assert_close(logits(network, copy, inputs), logits(network, theta[None], inputs))
    torch.testing.assert_close(kdl.align(network, theta, copy.states[0], inputs=inputs).theta, theta)


@pytest.mark.parametrize(("norm", "dims"), [("none", 1), ("group", 1), ("none", 2), ("group", 2), ("batch", 2)])
def test_a_residual_network_maps_signals_and_images_to_classes(norm, dims):
    network = networks.network("resnet", 16, 5, width=4, depth=2, norm=norm, dims=dims)
    assert network(torch.zeros(3, 16)).shape == (3, 5)
    assert networks.network("cnn", 64, 5, width=None, dims=2)(torch.zeros(3, 64)).shape == (3, 5)
    assert networks.network("mlp", 16, 5, width=4, dims=2)(torch.zeros(3, 16)).shape == (3, 5)


def test_shapes_that_are_no_image_and_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="a square number of features for dims=2, got 40"):
        networks.cnn(40, 3, dims=2)
    with pytest.raises(ValueError, match="dims to be 1 or 2, got 3"):
        networks.cnn(27, 3, dims=3)
    with pytest.raises(ValueError, match="norm to be none, group, batch for a residual network, got 'layer'"):
        networks.resnet(16, 3, norm="layer")
