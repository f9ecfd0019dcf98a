import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from kdlandscape.cubes.seals import DamagedCache, DamagedFileError
from kdlandscape.distillation import networks
from kdlandscape.distillation.augment import jitter, mixup, named_views
from kdlandscape.distillation.descent import Checkpoint
from kdlandscape.distillation.losses import ensemble_logits, tempered_kl
from kdlandscape.distillation.predictions import ensemble_of, logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.teachers import train_teachers
from kdlandscape.distillation.training import distill, train
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.paths.interpolation import mix
from kdlandscape.landscape.replay import traced
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
@pytest.mark.parametrize(("name", "norm"), [("mlp", "none"), ("mlp", "layer"), ("cnn", "none"), ("cnn", "group")])
def test_at_lambda_one_without_weight_decay_the_weights_do_not_move_at_all(name, norm, dtype, device):
    inputs = torch.randn(300, 40, generator=torch.Generator().manual_seed(0), dtype=dtype).to(device)
    network = networks.network(name, 40, 10, width=16, norm=norm).to(device, dtype)
    teacher, random = networks.random_thetas(network, [0, 1]).to(device)
    init = mix(random, 3 * teacher, torch.tensor([0.0, 0.5, 1.0]))
    for recipe in (Recipe(epochs=12, lr=0.5), Recipe(epochs=4, lr=1.0, nesterov=False, momentum=0.0)):
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
        distill(network, thetas, thetas[:2], inputs, Recipe(), generator=seeded())
    for name, value in {"optimizer": "lion", "schedule": "linear"}.items():
        with pytest.raises(ValueError, match=f"expected {name} to be .*; got '{value}'"):
            Recipe(**{name: value})
    with pytest.raises(ValueError, match=r"warmup_epochs in \[0, 5\), got 5"):
        Recipe(epochs=5, warmup_epochs=5)
    with pytest.raises(ValueError, match="patience of at least 1 epoch, got 0"):
        Recipe(patience=0)
    with pytest.raises(ValueError, match="every epoch or less often, got every 0 epochs"):
        Checkpoint("file", every=0)
    with pytest.raises(ValueError, match="one for each of the 3 networks; got 2"):
        distill(network, thetas, thetas, inputs, Recipe(), generator=[seeded(), seeded()])
    with pytest.raises(ValueError, match=r"hard_weight between 0 and 1, got \[2\.0, 2\.0, 2\.0\]"):
        distill(network, thetas, thetas, inputs, Recipe(), generator=seeded(), hard_weight=2.0)
    with pytest.raises(ValueError, match="expected targets, the labels that hard_weight weighs; got none"):
        distill(network, thetas, thetas, inputs, Recipe(), generator=seeded(), hard_weight=0.5)
    for views in (mixup, named_views("jitter+mixup", (6,))):
        with pytest.raises(ValueError, match="hard_weight 0 with MixUp"):
            distill(
                network, thetas, thetas, inputs, Recipe(), generator=seeded(), hard_weight=0.5, views=views,
                targets=torch.zeros(50, dtype=torch.long),
            )  # fmt: skip
    with pytest.raises(ValueError, match="teacher_view to be consistent, independent, fixed; got 'other'"):
        distill(network, thetas, thetas, inputs, Recipe(), generator=seeded(), views=mixup, teacher_view="other")
    with pytest.raises(ValueError, match=r"weights of shape \(\.\.\., 6\), got \(3, \d+\)"):
        logits(nn.BatchNorm1d(3), thetas, inputs)


def test_a_teacher_is_trained_once_and_found_again_by_its_recipe(tmp_path, monkeypatch):
    network, _, inputs, targets = problem()
    recipe = Recipe(epochs=1)
    first = train_teachers(network, inputs, targets, recipe, seeds=[0, 1], folder=tmp_path).thetas
    assert not torch.equal(first[0], first[1])
    with monkeypatch.context() as patch:
        patch.setattr("kdlandscape.distillation.teachers.train", None)
        again = train_teachers(network, inputs, targets, recipe, seeds=[0, 1], folder=tmp_path)
        assert torch.equal(again.thetas, first)
    wider = networks.mlp(6, 3, width=9).double()
    for changed in (
        {"recipe": Recipe(epochs=2)},
        {"targets": targets.roll(1)},
        {"network": wider},
        {"views": named_views("jitter", (6,))},
    ):
        arguments = {"network": network, "inputs": inputs, "targets": targets, "recipe": recipe} | changed
        count = len(list(tmp_path.glob("*.pt")))
        train_teachers(**arguments, seeds=[0], folder=tmp_path)
        assert len(list(tmp_path.glob("*.pt"))) == count + 1


def test_a_damaged_teacher_is_trained_again_and_never_used(tmp_path):
    network, _, inputs, targets = problem()

    def teach():
        return train_teachers(network, inputs, targets, Recipe(epochs=1), seeds=[0], folder=tmp_path).thetas

    first = teach()
    (path,) = tmp_path.iterdir()
    flip(path)
    with pytest.warns(DamagedCache, match=r"\.pt: expected a file with its own checksum .*; it is made again"):
        assert torch.equal(teach(), first)
    assert torch.equal(teach(), first)


class Scaled(nn.Linear):
    factor = 1.0

    def forward(self, x):
        return self.factor * super().forward(x)


def test_a_teacher_of_another_forward_or_another_loss_is_another_teacher(tmp_path, monkeypatch):
    _, _, inputs, targets = problem()

    def teach(loss=nn.functional.cross_entropy):
        loss = partial(loss, reduction="none")
        return train_teachers(lambda: Scaled(6, 3).double(), inputs, targets, Recipe(epochs=1), seeds=[0], loss=loss,
                              folder=tmp_path).thetas  # fmt: skip

    first = teach()
    assert torch.equal(teach(), first)
    assert not torch.equal(teach(partial(nn.functional.cross_entropy, label_smoothing=0.1)), first)
    monkeypatch.setattr(Scaled, "factor", 2.0)
    assert not torch.equal(teach(), first)


def test_teachers_keep_their_running_statistics(tmp_path):
    _, _, inputs, targets = problem()

    def make():
        return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()

    first = train_teachers(make, inputs, targets, Recipe(epochs=2, batch_size=10), seeds=[0, 1], folder=tmp_path)
    again = train_teachers(make, inputs, targets, Recipe(epochs=2, batch_size=10), seeds=[0, 1], folder=tmp_path)
    assert torch.equal(first.buffers["1.running_var"], again.buffers["1.running_var"])
    assert int(first.states[0]["1.num_batches_tracked"]) == 10
    alone = make().eval()
    alone.load_state_dict(first.states[1])
    torch.testing.assert_close(logits(make(), first, inputs)[1], alone(inputs).detach())


def test_a_parameter_that_no_layer_draws_afresh_is_refused_unless_a_function_makes_the_network():
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.head = nn.Parameter(torch.randn(4)), nn.Linear(4, 2)

    with pytest.raises(ValueError, match=r"draws the parameter 'token' afresh.*or a function that makes the network"):
        networks.random_thetas(Token(), [0, 1])
    a, b, again = networks.random_thetas(Token, [0, 1, 0])
    assert torch.equal(a, again)
    assert not torch.equal(a[:4], b[:4])
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    assert not torch.equal(*networks.random_thetas(layer, [0, 1]))


def flip(path):
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_random_weights_follow_their_seed_and_leave_the_random_state_alone():
    network = networks.cnn(12, 3, width=4)
    before = torch.get_rng_state()
    a, b, again = networks.random_thetas(network, [0, 1, 0])
    assert torch.equal(a, again)
    assert not torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_networks_and_norms_are_refused():
    with pytest.raises(
        ValueError, match="a network of mlp, cnn, resnet, lenet, preact_resnet, vgg, transformer; got 'mpl'"
    ):
        networks.network("mpl", 4, 3)
    with pytest.raises(ValueError, match="norm to be none or layer"):
        networks.mlp(4, 3, norm="group")
    with pytest.raises(ValueError, match="norm to be none or group"):
        networks.cnn(12, 3, norm="layer")


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_and_its_warm_up_take_the_steps_of_torch_optim(optimizer):
    network, thetas, inputs, targets = problem()
    recipe = Recipe(
        epochs=4, batch_size=16, lr=0.02, lr_end=1e-3, weight_decay=0.05, optimizer=optimizer, warmup_epochs=1
    )
    trained = train(network, thetas, inputs, targets, recipe, generator=seeded())
    one = copy.deepcopy(network)
    nn.utils.vector_to_parameters(thetas[1], one.parameters())
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    reference = kind(one.parameters(), lr=0.02, weight_decay=0.05)
    order, step = seeded(), 0
    for _ in range(4):
        for rows in torch.randperm(50, generator=order).split(16):
            cosine = 1e-3 + 0.019 * (1 + math.cos(math.pi * (step - 4) / 12)) / 2
            reference.param_groups[0]["lr"] = 0.02 * step / 4 if step < 4 else cosine
            reference.zero_grad()
            nn.functional.cross_entropy(one(inputs[rows]), targets[rows]).backward()
            reference.step()
            step += 1
    expected = nn.utils.parameters_to_vector(one.parameters())
    torch.testing.assert_close(trained.thetas[1], expected.detach(), rtol=1e-6, atol=1e-8)


def test_students_with_generators_of_their_own_train_as_if_alone():
    network, thetas, inputs, _ = problem()
    settings = {"temperature": 2.0, "views": jitter}
    together = distill(network, thetas, thetas.roll(1, 0), inputs, RECIPE, generator=[seeded(seed=k) for k in range(3)],
                       **settings)  # fmt: skip
    for k in range(3):
        alone = distill(
            network,
            thetas[k : k + 1],
            thetas.roll(1, 0)[k : k + 1],
            inputs,
            RECIPE,
            generator=seeded(seed=k),
            **settings,
        )
        torch.testing.assert_close(together.thetas[k], alone.thetas[0], rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(together.losses[:, k], alone.losses[:, 0], rtol=1e-9, atol=1e-10)


def test_chunks_of_students_give_the_same_weights():
    network, thetas, inputs, _ = problem()
    whole, parts = (
        distill(network, thetas, thetas.roll(1, 0), inputs, RECIPE, generator=seeded(), chunk_size=size).thetas
        for size in (None, 2)
    )
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)


class StopError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("own", [False, True])
def test_resumed_training_equals_uninterrupted_training_to_the_bit(optimizer, own, tmp_path):
    network, thetas, inputs, _ = problem(dtype=torch.float32)
    recipe = Recipe(epochs=6, batch_size=16, lr=0.01, optimizer=optimizer, patience=4, min_delta=1e-6)
    teacher = networks.mlp(6, 3, width=8)

    def run(allowed, checkpoint=None):
        calls = iter(range(10**6))

        def ask(x, generator):
            if next(calls) >= allowed:
                raise StopError
            return teacher(x) + torch.randn(3, generator=generator)

        generator = [seeded(seed=k) for k in range(3)] if own else seeded()
        return distill(network, thetas, ask, inputs, recipe, generator=generator, views=mixup, record_every=5,
                       checkpoint=checkpoint)  # fmt: skip

    expected = run(10**6)
    saved = Checkpoint(tmp_path / "run.pt", every=2)
    with pytest.raises(StopError):
        run(15 * (3 if own else 1), saved)
    resumed = run(10**6, saved)
    assert torch.equal(resumed.thetas, expected.thetas)
    assert torch.equal(resumed.losses, expected.losses)
    assert resumed.steps == expected.steps
    assert torch.equal(resumed.trajectory, expected.trajectory)
    assert torch.equal(run(0, saved).thetas, expected.thetas)  # a finished training is read, not run
    with pytest.raises(ValueError, match=r"a checkpoint of this training .*, got one of another"):
        train(network, thetas, inputs, torch.zeros(50, dtype=torch.long), recipe, generator=seeded(), checkpoint=saved)
    flip(saved.path)
    with pytest.raises(DamagedFileError, match=r"run.pt: expected a file with its own checksum .*; remove it, and the"):
        run(10**6, saved)


def test_a_network_that_no_longer_improves_stays_as_it_is():
    network, thetas, inputs, _ = problem()
    recipe = Recipe(epochs=12, batch_size=50, lr=0.1, schedule="constant", patience=2)
    trained = distill(network, thetas[:2], thetas[[0, 2]], inputs, recipe, generator=seeded(), record_every=1)
    assert torch.equal(trained.thetas[0], thetas[0])
    worse = [-1.0, *trained.losses[:, 1].diff().tolist()]
    end = next(epoch for epoch in range(1, 12) if worse[epoch - 1] >= 0 and worse[epoch] >= 0)
    assert not torch.equal(trained.trajectory[end, 1], trained.trajectory[end + 1, 1])
    assert trained.losses[end + 1 :].isnan().all()
    assert torch.equal(trained.thetas[1], trained.trajectory[-1, 1])
    stopped = distill(network, thetas[:1], thetas[:1], inputs, recipe, generator=seeded())
    assert torch.isfinite(stopped.losses[:3]).all()
    assert stopped.losses[3:].isnan().all()


def test_a_recorded_program_gives_the_same_numbers_for_every_shape_and_one_that_branches_runs_as_it_is():
    network, thetas, inputs, _ = problem()
    plain = vmap(lambda theta, x: functional_call(network, unravel(network, theta), x), in_dims=(0, None))
    replayed = traced(plain)
    for x in (inputs, inputs, inputs[:7], inputs, inputs[:7], inputs[:7]):
        assert torch.allclose(replayed(thetas, x), plain(thetas, x), rtol=1e-12)
    assert torch.equal(replayed(thetas, inputs), replayed(thetas, inputs))
    branching = traced(lambda x: x if float(x.sum()) > 0 else -x)
    for x in (torch.ones(2), -torch.ones(2), -torch.ones(2)):
        assert torch.equal(branching(x), torch.ones(2))


def test_a_program_that_reads_a_tensor_which_is_replaced_runs_as_it_is():
    weight = [torch.ones(2)]
    replayed = traced(lambda x: x * weight[0])
    for k in range(1, 5):
        weight[0] = torch.full((2,), float(k))
        assert torch.equal(replayed(torch.ones(2)), weight[0])


@pytest.mark.parametrize("constant", [float, torch.tensor, lambda n: torch.full((), float(n))])
def test_a_loss_that_changes_from_call_to_call_is_not_replayed(constant):
    network, thetas, inputs, targets = problem()
    calls = []

    def growing(outputs, targets):
        calls.append(None)
        return nn.functional.cross_entropy(outputs, targets, reduction="none") * constant(len(calls))

    recipe = Recipe(epochs=4, batch_size=50, lr=0.1, momentum=0.0, schedule="constant")
    trained = train(network, thetas, inputs, targets, recipe, generator=seeded(), loss=growing)
    assert len(calls) == recipe.epochs + 1  # recorded, and each step
    assert trained.losses[-1, 0] > 1.5 * trained.losses[0, 0]


def test_an_ensemble_teaches_the_mean_of_its_members_probabilities():
    network, thetas, inputs, _ = problem()
    members = thetas[1:].expand(3, -1, -1)

    def ask(x, generator):
        probabilities = torch.stack(
            [functional_call(network, unravel(network, row), x).softmax(-1) for row in thetas[1:]]
        )
        return probabilities.mean(0).log()

    by_tensor = distill(network, thetas, members, inputs, RECIPE, generator=seeded()).thetas
    by_function = distill(network, thetas, ask, inputs, RECIPE, generator=seeded()).thetas
    torch.testing.assert_close(by_tensor, by_function, rtol=1e-9, atol=1e-10)
    same = thetas[:, None].expand(3, 4, -1)
    one, four = (distill(network, thetas.roll(1, 0), t, inputs, RECIPE, generator=seeded()) for t in (thetas, same))
    torch.testing.assert_close(one.thetas, four.thetas, rtol=1e-8, atol=1e-9)
    together = ensemble_of(network, members, inputs)
    assert together.shape == (3, 50, 3)
    torch.testing.assert_close(together[0], ask(inputs, None))


def unravel(network, theta):
    return Ravel.of(network).unravel(theta)


def test_a_teacher_may_have_an_architecture_of_its_own():
    network, thetas, inputs, _ = problem()
    wide = networks.mlp(6, 3, width=20).double()
    teacher = networks.random_thetas(wide, [7])
    expected = distill(
        network, thetas, lambda x, generator: functional_call(wide, unravel(wide, teacher[0]), x), inputs, RECIPE,
        generator=seeded(),
    )  # fmt: skip
    got = distill(network, thetas, teacher.expand(3, -1), inputs, RECIPE, generator=seeded(), teacher_network=wide)
    torch.testing.assert_close(got.thetas, expected.thetas, rtol=1e-9, atol=1e-10)


def test_a_hard_weight_of_one_is_training_on_the_labels_and_each_student_has_its_own():
    network, thetas, inputs, targets = problem()
    start = thetas[:1].expand(3, -1)
    weights = torch.tensor([0.0, 0.5, 1.0])
    mixed = distill(
        network, start, thetas[1:2].expand(3, -1), inputs, RECIPE, generator=seeded(), targets=targets,
        hard_weight=weights,
    )  # fmt: skip
    labels = train(network, start, inputs, targets, RECIPE, generator=seeded())
    teacher = distill(network, start, thetas[1:2].expand(3, -1), inputs, RECIPE, generator=seeded())
    torch.testing.assert_close(mixed.thetas[2], labels.thetas[2], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(mixed.thetas[0], teacher.thetas[0], rtol=1e-9, atol=1e-10)
    assert not torch.allclose(mixed.thetas[1], mixed.thetas[0])


def test_the_teacher_sees_the_same_view_another_one_or_the_input_itself():
    network, thetas, inputs, _ = problem()
    seen = []

    def views(x, generator):
        return x + torch.rand((), generator=generator)

    def ask(x, generator):
        seen.append(x)
        return torch.zeros(len(x), 3, dtype=x.dtype)

    offsets = {}
    for view in ("consistent", "independent", "fixed"):
        seen.clear()
        recipe = Recipe(epochs=1, batch_size=50)
        distill(network, thetas, ask, inputs, recipe, generator=seeded(), views=views, teacher_view=view)
        order = torch.randperm(50, generator=(draws := seeded()))
        drawn = [float(torch.rand((), generator=draws)) for _ in range(2)]
        offsets[view] = (float((seen[0] - inputs[order]).mean()), drawn)
    assert offsets["fixed"][0] == 0
    assert offsets["consistent"][0] == pytest.approx(offsets["consistent"][1][0], abs=1e-6)
    assert offsets["independent"][0] == pytest.approx(offsets["independent"][1][1], abs=1e-6)
