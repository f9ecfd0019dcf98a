import pytest
import torch
import xarray as xr

from kdlandscape.distillation import arms, networks
from kdlandscape.distillation.augment import jitter
from kdlandscape.distillation.comparison import fidelity
from kdlandscape.distillation.predictions import ensemble_of, logits
from kdlandscape.distillation.recipe import Recipe
from kdlandscape.distillation.training import distill

SEEDS = [0, 3]
RECIPE = Recipe(epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def problem():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 6, generator=generator)
    targets = torch.randint(3, (40,), generator=generator)
    network = networks.mlp(6, 3, width=8)
    return network, inputs, targets, arms.teacher_groups(network, inputs, targets, RECIPE, seeds=SEEDS, ensemble_size=2)


def test_every_teacher_of_a_study_is_another_network(problem):
    flat = problem[3].flat().thetas
    assert problem[3].thetas.shape[:3] == (2, 2, 2)
    assert len({float(row.norm()) for row in flat}) == 8
    fewer = arms.teacher_groups(problem[0], *problem[1:3], RECIPE, seeds=SEEDS)
    assert torch.equal(fewer[:, :, 0].thetas, problem[3][:, :, 0].thetas)


def test_a_student_of_an_arm_is_distilled_as_if_alone_and_compared_with_its_own_teacher(problem):
    network, inputs, targets, groups = problem
    init = arms.initial_students(network, seeds=SEEDS)
    thetas = arms.distil_arm(
        network, init, groups, inputs, RECIPE, seeds=SEEDS, temperature=[1.0, 4.0], hard_weight=[0.0, 0.5],
        targets=targets,
    )  # fmt: skip
    thetas = thetas.thetas
    assert thetas.shape[:4] == (2, 2, 2, 2)
    alone = distill(
        network, init[1, 1:], groups[1, 1:], inputs, RECIPE, generator=torch.Generator().manual_seed(3),
        temperature=4.0, targets=targets, hard_weight=0.5,
    ).thetas[0]  # fmt: skip
    torch.testing.assert_close(thetas[1, 1, 1, 1], alone, rtol=1e-4, atol=1e-5)
    found = arms.arm_fidelity(network, thetas, inputs, targets, groups, network)
    teacher = ensemble_of(network, groups[0, 1], inputs)
    expected = fidelity(teacher, logits(network, thetas[0, 1, 1], inputs)[1], targets)
    control = fidelity(teacher, logits(network, thetas[1, 1, 1], inputs)[1])
    assert found["agreement"].dims == ("seed", "temperature", "hard_weight")
    one = found.isel(seed=1, temperature=1, hard_weight=1)
    xr.testing.assert_allclose(one[list(expected)], expected, rtol=1e-4, atol=1e-5)
    assert float(one["excess_agreement"]) == pytest.approx(
        float(expected["agreement"] - control["agreement"]), abs=1e-5
    )


def test_without_labels_only_what_needs_none_is_a_number(problem):
    network, inputs, _, groups = problem
    thetas = arms.initial_students(network, seeds=SEEDS)[:, :, None, None]
    found = arms.arm_fidelity(network, thetas, inputs, None, groups, network)
    for name in ("student_accuracy", "agreement_teacher_wrong", "excess_teacher_wrong"):
        assert found[name].isnull().all()
    for name in ("agreement", "excess_agreement", "control_kl", "confidence_slope"):
        assert found[name].notnull().all()
    assert found["student_nll"].attrs["units"] == "nat"


def test_students_start_at_shared_random_weights_or_where_their_teacher_started(problem):
    network = problem[0]
    random = arms.initial_students(network, seeds=SEEDS)
    assert torch.equal(random[0], random[1])
    born = arms.initial_students(network, seeds=SEEDS, init="teacher")
    assert torch.equal(born[1, 1], networks.random_thetas(network, [arms.teacher_seed(3, 1, 0)])[0])
    with pytest.raises(ValueError, match="init to be random or teacher, got 'zero'"):
        arms.initial_students(network, seeds=SEEDS, init="zero")


def test_a_random_teacher_labels_by_noise(problem):
    teacher = arms.random_teacher(3)
    a, b = (teacher(problem[1], torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == (40, 3)
    init = arms.initial_students(problem[0], seeds=SEEDS)
    thetas = arms.distil_arm(problem[0], init, teacher, problem[1], RECIPE, seeds=SEEDS)
    assert not torch.equal(thetas[0, :, 0, 0].thetas, init[0])


def test_a_teacher_is_as_invariant_as_itself(problem):
    network, inputs, _, groups = problem
    same = groups[:, :, :1, None]
    generator = torch.Generator().manual_seed(0)
    found = arms.arm_invariance(network, same, inputs, groups[:, :, :1], network, jitter, generator=generator)
    assert (found == 1).all()


def test_steps_become_whole_epochs():
    assert arms.epochs_for(1000, torch.zeros(4000, 1), 128) == 31
    assert arms.epochs_for(1, {"tokens": torch.zeros(4000, 1)}, 128) == 1
    assert arms.steps_in(Recipe(epochs=31, batch_size=128), torch.zeros(4000, 1)) == 31 * 32
