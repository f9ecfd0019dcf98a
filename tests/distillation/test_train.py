import copy

import pytest
import torch
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.distillation.losses import ensemble_logits, tempered_kl
from kdlandscape.distillation.teachers import teachers
from kdlandscape.distillation.train import Recipe, distill, logits, train
from kdlandscape.landscape.interpolation import mix
from tests.cases import DEVICES


def problem(dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 6, generator=generator, dtype=torch.float64).to(device, dtype)
    targets = torch.randint(3, (50,), generator=generator).to(device)
    network = networks.mlp(6, 3, width=8).to(device, dtype)
    return network, networks.random_thetas(network, [0, 1, 2]).to(device), inputs, targets


def seeded(device="cpu", seed=5):
    return torch.Generator(device).manual_seed(seed)


RECIPE = Recipe(epochs=3, batch_size=16, lr=0.2, lr_end=0.01, weight_decay=1e-2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("nesterov", [True, False])
def test_a_batch_of_networks_takes_the_steps_that_torch_optim_takes_one_by_one(nesterov, device):
    network, thetas, inputs, targets = problem(device=device)
    recipe = Recipe(**{**vars(RECIPE), "nesterov": nesterov})
    scale = torch.tensor([1.0, 0.5, 0.1], device=device)
    trained = train(network, thetas, inputs, targets, recipe, generator=seeded(device), lr_scale=scale)
    for k in range(3):
        one = copy.deepcopy(network)
        nn.utils.vector_to_parameters(thetas[k], one.parameters())
        optimizer = torch.optim.SGD(one.parameters(), lr=1.0, momentum=0.9, nesterov=nesterov, weight_decay=1e-2)
        order, step = seeded(device), 0
        for _ in range(3):
            for rows in torch.randperm(50, generator=order, device=device).split(16):
                cosine = (1 + torch.cos(torch.tensor(torch.pi * step / 12, dtype=torch.float64))) / 2
                optimizer.param_groups[0]["lr"] = float(scale[k]) * (0.01 + 0.19 * float(cosine))
                optimizer.zero_grad()
                nn.functional.cross_entropy(one(inputs[rows]), targets[rows]).backward()
                optimizer.step()
                step += 1
        expected = nn.utils.parameters_to_vector(one.parameters())
        torch.testing.assert_close(trained.thetas[k], expected.detach(), rtol=1e-7, atol=1e-8)
    assert trained.losses.shape == (3, 3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_at_lambda_one_without_weight_decay_the_weights_do_not_move_at_all(name, dtype, device):
    inputs = torch.randn(300, 40, generator=torch.Generator().manual_seed(0), dtype=dtype).to(device)
    network = networks.network(name, 40, 10, width=16).to(device, dtype)
    teacher, random = networks.random_thetas(network, [0, 1]).to(device)
    init = mix(random, 3 * teacher, torch.tensor([0.0, 0.5, 1.0]))
    for recipe in (Recipe(epochs=4, lr=1.0), Recipe(epochs=4, lr=1.0, nesterov=False, momentum=0.0)):
        trained = distill(
            network, init, (3 * teacher).expand(3, -1), inputs, recipe, generator=seeded(device), temperature=4.0
        )
        assert torch.equal(trained.thetas[2], 3 * teacher)
        assert (trained.losses[:, 2] == 0).all()
        assert not torch.equal(trained.thetas[1], init[1])


def test_the_gradient_of_the_tempered_kl_is_that_of_the_distillation_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    z_t, z_s = 5 * torch.randn(2, 20, 7, generator=generator, dtype=torch.float64)
    z_s.requires_grad_()
    tau = 4.0
    cross_entropy = -(tau**2) * ((z_t / tau).softmax(-1) * (z_s / tau).log_softmax(-1)).sum(-1)
    kl = tempered_kl(z_t, z_s, tau)
    expected, got = (torch.autograd.grad(loss.sum(), z_s)[0] for loss in (cross_entropy, kl))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    p, q = (z_t / tau).softmax(-1), (z_s / tau).softmax(-1)
    torch.testing.assert_close(kl, tau**2 * (p * (p / q).log()).sum(-1), rtol=1e-10, atol=1e-10)


def test_an_ensemble_of_identical_members_is_the_member():
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ensemble_logits(z.expand(4, 5, 3)).softmax(-1), z.softmax(-1))
    other = z.roll(1, -1)
    mean = (z.softmax(-1) + other.softmax(-1)) / 2
    torch.testing.assert_close(ensemble_logits(torch.stack([z, other])).exp(), mean)


def test_each_student_has_its_own_temperature():
    network, thetas, inputs, _ = problem()
    recipe = Recipe(epochs=1, lr=0.1)
    both = distill(
        network, thetas[:1].expand(2, -1), thetas[2:].expand(2, -1), inputs, recipe,
        generator=seeded(), temperature=torch.tensor([1.0, 4.0]),
    )  # fmt: skip
    for k, temperature in enumerate([1.0, 4.0]):
        one = distill(network, thetas[:1], thetas[2:], inputs, recipe, generator=seeded(), temperature=temperature)
        torch.testing.assert_close(both.thetas[k], one.thetas[0], rtol=1e-10, atol=1e-12)


def test_training_that_diverges_names_the_network_and_the_epoch():
    network, thetas, inputs, targets = problem()
    thetas[1] *= 1e300
    with pytest.raises(RuntimeError, match=r"the loss of network 1 of 3 became (inf|nan) in epoch 1: lower lr"):
        train(network, thetas, inputs, targets, RECIPE, generator=seeded())


def test_bad_settings_are_refused():
    network, thetas, inputs, _ = problem()
    with pytest.raises(ValueError, match="epochs of at least 1, got 0"):
        Recipe(epochs=0)
    with pytest.raises(ValueError, match="lr above 0, got 0"):
        Recipe(lr=0)
    with pytest.raises(ValueError, match="momentum in"):
        Recipe(momentum=1.0)
    with pytest.raises(ValueError, match=r"a teacher for each student: shape \(3, \d+\)"):
        distill(network, thetas, thetas[:1], inputs, Recipe(), generator=seeded())
    with pytest.raises(ValueError, match="BatchNorm1d has buffers"):
        logits(nn.BatchNorm1d(3), thetas, inputs)


def test_a_teacher_is_trained_once_and_found_again_by_its_recipe(tmp_path, monkeypatch):
    network, _, inputs, targets = problem()
    recipe = Recipe(epochs=1)
    first = teachers(network, inputs, targets, recipe, seeds=[0, 1], folder=tmp_path)
    assert not torch.equal(first[0], first[1])
    with monkeypatch.context() as patch:
        patch.setattr("kdlandscape.distillation.teachers.train", None)
        assert torch.equal(teachers(network, inputs, targets, recipe, seeds=[0, 1], folder=tmp_path), first)
    wider = networks.mlp(6, 3, width=9).double()
    for changed in ({"recipe": Recipe(epochs=2)}, {"targets": targets.roll(1)}, {"network": wider}):
        arguments = {"network": network, "inputs": inputs, "targets": targets, "recipe": recipe} | changed
        count = len(list(tmp_path.glob("*.pt")))
        teachers(**arguments, seeds=[0], folder=tmp_path)
        assert len(list(tmp_path.glob("*.pt"))) == count + 1


def test_random_weights_follow_their_seed_and_leave_the_random_state_alone():
    network = networks.cnn(12, 3, width=4)
    before = torch.get_rng_state()
    a, b, again = networks.random_thetas(network, [0, 1, 0])
    assert torch.equal(a, again)
    assert not torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_networks_and_norms_are_refused():
    with pytest.raises(ValueError, match="a network of mlp, cnn, resnet; got 'mpl'"):
        networks.network("mpl", 4, 3)
    with pytest.raises(ValueError, match="norm to be none or layer"):
        networks.mlp(4, 3, norm="group")
    with pytest.raises(ValueError, match="norm to be none or group"):
        networks.cnn(12, 3, norm="layer")
