import pytest
import torch
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.distillation.similarity import cka, layer_similarity, procrustes


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("width", [3, 40])
def test_cka_is_the_alignment_of_centred_kernels(width):
    x, y = draw(20, 5), draw(20, width, seed=1)
    centre = torch.eye(20, dtype=torch.float64) - 1 / 20
    k, m = (centre @ (z @ z.T) @ centre for z in (x, y))
    expected = (k @ m).trace() / ((k @ k).trace() * (m @ m).trace()).sqrt()
    assert cka(x, y).item() == pytest.approx(expected.item(), rel=1e-12)
    assert cka(y, x).item() == pytest.approx(expected.item(), rel=1e-12)


def test_cka_is_one_up_to_rotation_scale_shift_and_the_order_of_units():
    x = draw(50, 6)
    rotation = torch.linalg.qr(draw(6, 6, seed=1)).Q
    assert cka(x, x).item() == pytest.approx(1)
    assert cka(x, 3 * x @ rotation + 7).item() == pytest.approx(1)
    assert cka(x, x[:, torch.randperm(6)]).item() == pytest.approx(1)
    stretched = x * torch.tensor([1, 1, 1, 1, 1, 9.0], dtype=torch.float64)
    assert cka(x, stretched).item() < 0.9


def test_cka_collapses_when_the_examples_of_one_network_are_permuted():
    x = draw(500, 10)
    y = torch.tanh(x @ draw(10, 12, seed=1))
    shuffled = y[torch.randperm(500, generator=torch.Generator().manual_seed(2))]
    assert cka(x, y).item() > 0.6
    assert cka(x, shuffled).item() < 0.05


def test_cka_refuses_other_examples():
    with pytest.raises(ValueError, match="the same examples, at least 2, as rows of both; got 5 and 6 rows"):
        cka(draw(5, 2), draw(6, 2))
    assert torch.isnan(cka(torch.ones(5, 2), draw(5, 2)))


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet"])
def test_layers_are_compared_in_the_order_of_the_network(name):
    network = networks.network(name, 16, 3, width=6).double()
    a, b = networks.random_thetas(network, [0, 1])
    inputs = draw(100, 16)
    itself, other = (layer_similarity(network, a, theta, inputs) for theta in (a, b))
    kinds = nn.Linear | nn.Conv1d
    assert itself.attrs["layers"] == [name for name, m in network.named_modules() if isinstance(m, kinds)]
    assert itself["cka"].values == pytest.approx(1)
    assert (other["cka"] < 0.999).all()
    assert other["cka"].dims == ("layer",)


def test_a_network_is_left_as_it_was_and_layers_can_be_chosen():
    network = nn.Sequential(networks.mlp(4, 3, width=5), nn.Dropout()).double()
    network.train()
    theta = networks.random_thetas(network, [0])[0]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = layer_similarity(network, theta, theta, draw(20, 4), layers=["0.1"])
    assert found.attrs["layers"] == ["0.1"]
    assert network.training
    assert network[0].training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"layers of 0, 0\.0, .*; got 'head'"):
        layer_similarity(network, theta, theta, draw(20, 4), layers=["head"])


def test_procrustes_is_what_the_best_rotation_leaves():
    from scipy.linalg import orthogonal_procrustes

    x, y = draw(30, 6), draw(30, 6, seed=1)
    a, b = ((z - z.mean(0)) / (z - z.mean(0)).norm() for z in (x, y))
    rotation, _ = orthogonal_procrustes(b.numpy(), a.numpy())
    left = float((a - b @ torch.as_tensor(rotation)).square().sum())
    assert procrustes(x, y).item() == pytest.approx(1 - left / 2, rel=1e-12)
    wide = draw(10, 40)
    assert procrustes(wide, draw(10, 25, seed=1)).item() == pytest.approx(
        procrustes(draw(10, 25, seed=1), wide).item(), rel=1e-10
    )


def test_procrustes_is_one_up_to_rotation_scale_and_shift_and_of_no_value_for_constants():
    x = draw(50, 6)
    rotation = torch.linalg.qr(draw(6, 6, seed=1)).Q
    assert procrustes(x, 3 * x @ rotation + 7).item() == pytest.approx(1)
    assert procrustes(draw(8, 20), draw(8, 20) @ torch.linalg.qr(draw(20, 20, seed=1)).Q).item() == pytest.approx(1)
    assert torch.isnan(procrustes(torch.ones(5, 2), draw(5, 2)))


def test_one_strong_shared_direction_fools_cka_but_not_procrustes():
    """60 of 61 directions are independent; the shared one has 6 times their standard deviation."""
    shared = 24 * draw(2000, 1)
    x, y = (torch.cat([shared, 1.5 * draw(2000, 60, seed=seed)], 1) for seed in (1, 2))
    assert cka(x, y).item() > 0.95
    assert procrustes(x, y).item() < 0.9
    alone = (1.5 * draw(2000, 60, seed=seed) for seed in (1, 2))
    assert cka(*alone).item() < 0.1
