import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy as nll
from torch.nn.functional import kl_div

import kdlandscape as kdl
from kdlandscape.distillation import (
    at_best_temperature,
    labels_on,
    logits,
    random_thetas,
    same_start_barrier,
    teacher_on,
    tempered_kl,
    to_teacher,
    with_head,
)
from kdlandscape.landscape import cross_entropy
from kdlandscape.landscape.params import Ravel

MODEL = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_loss_of_a_part_sees_no_other_output():
    z_t, z_s, y = draw(7, 5), draw(7, 5, seed=1), torch.arange(7) % 3
    classes, rest = slice(0, 3), slice(3, None)
    torch.testing.assert_close(labels_on(cross_entropy, classes)(z_s, y), nll(z_s[:, :3], y, reduction="none"))
    expected = 4 * kl_div((z_s[:, 3:] / 2).log_softmax(-1), (z_t[:, 3:] / 2).softmax(-1), reduction="none").sum(-1)
    torch.testing.assert_close(teacher_on(tempered_kl, rest)(z_t, z_s, 2.0), expected)


def test_a_shared_head_gives_the_rows_of_the_classes_alone():
    thetas, head = random_thetas(MODEL, [0, 1]), random_thetas(MODEL, [2])[0]
    found = with_head(MODEL, thetas, head, slice(0, 3))
    space = Ravel.of(MODEL)
    given = space.unravel(head)
    for theta, old in zip(found, thetas, strict=True):
        new, before = space.unravel(theta), space.unravel(old)
        for name in ("2.weight", "2.bias"):
            assert torch.equal(new[name][:3], given[name][:3])
            assert torch.equal(new[name][3:], before[name][3:])
        assert torch.equal(new["0.weight"], before["0.weight"])
    with pytest.raises(ValueError, match="a network that ends in a linear layer, got ReLU"):
        with_head(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), torch.zeros(1, 25), torch.zeros(25), slice(0, 3))


def test_the_best_temperature_undoes_a_scale_of_the_logits():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    theta = random_thetas(MODEL, [0])[0]
    scaled = Ravel.of(MODEL).unravel(theta)
    scaled = {name: value * (0.1 if name.startswith("2.") else 1.0) for name, value in scaled.items()}
    z_t = logits(MODEL, theta, x)[0]
    metrics = {"calibrated": at_best_temperature()}
    objective = kdl.Objective(MODEL, to_teacher(tempered_kl), (x, z_t), metrics=metrics)
    found = objective.evaluate(Ravel.of(MODEL).ravel(scaled)[None])
    assert float(found["loss"]) > 1e-3
    assert float(found["calibrated"]) == pytest.approx(0.0, abs=1e-6)  # T = 1/10 is one of those tried


def test_the_barrier_between_two_students_is_that_of_the_straight_path_for_each_cell():
    thetas = random_thetas(MODEL, range(8))
    first, second = thetas[:4].view(1, 2, 2, 1, -1), thetas[4:].view(1, 2, 2, 1, -1)
    teachers = random_thetas(MODEL, [8, 9]).view(1, 2, 1, -1)
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    found = same_start_barrier(MODEL, first, second, x, teachers, MODEL, t=5)
    assert found.dims == ("seed", "temperature", "hard_weight")
    for seed in range(2):
        objective = kdl.Objective(MODEL, to_teacher(tempered_kl), (x, logits(MODEL, teachers[0, seed], x)[0]))
        for tau in range(2):
            path = kdl.interpolate(objective, first[0, seed, tau, 0], second[0, seed, tau, 0], t=5)
            assert float(found[seed, tau, 0]) == pytest.approx(float(kdl.barrier(path)), rel=1e-4, abs=1e-6)
    assert float(same_start_barrier(MODEL, first, first, x, teachers, MODEL).max()) == pytest.approx(0, abs=1e-6)
