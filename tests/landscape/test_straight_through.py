import pytest
import torch

from kdlandscape.distillation import networks
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from kdlandscape.landscape.paths.interpolation import barrier, interpolate
from kdlandscape.landscape.permutations.alignment import align, full_state
from kdlandscape.landscape.permutations.straight_through import align_by_loss
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from kdlandscape.landscape.reduction import cross_entropy
from tests.landscape.test_permutations import outputs, seeded

NETWORK = networks.mlp(6, 3, width=12)


@pytest.fixture(scope="module")
def trained():
    """Two networks that have learned which of three prototypes an input is near, from starts of their own."""
    centres = 1.5 * torch.randn(3, 4, 6, generator=seeded(1))
    labels = torch.arange(300) % 3
    inputs = centres[labels, torch.arange(300) // 3 % 4] + 0.5 * torch.randn(300, 6, generator=seeded(2))
    objective = Objective(NETWORK, cross_entropy, (inputs, labels))
    thetas = []
    for start in networks.random_thetas(NETWORK, [0, 1]):
        theta = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([theta], lr=0.02)
        for _ in range(150):
            theta.grad = objective.grad(theta.detach())
            optimizer.step()
        thetas.append(theta.detach())
    return objective, *thetas


def half_way(objective, reference, aligned):
    return float(objective.value((objective.ravel(reference) + aligned.theta) / 2))


def test_a_planted_permutation_is_found_and_leaves_no_barrier(trained):
    objective, teacher, _ = trained
    state = full_state(NETWORK, teacher)
    symmetry = trace_symmetry(NETWORK, next(objective.stream())[0])
    permuted = symmetry.permute(state, symmetry.random(seeded(3)))
    found = align_by_loss(objective, teacher, permuted, steps=3)
    assert torch.equal(found.theta, teacher)
    assert barrier(interpolate(objective, found, teacher, t=5)).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_half_way_falls_below_that_of_weight_matching_and_the_function_stays(trained):
    objective, teacher, other = trained
    weights = align(objective, teacher, other)
    first, more = (align_by_loss(objective, teacher, other, steps=steps) for steps in (1, 40))
    assert half_way(objective, teacher, first) <= half_way(objective, teacher, weights)
    assert half_way(objective, teacher, more) < 0.9 * half_way(objective, teacher, weights)
    assert more.similarity[1] <= weights.similarity[1]  # what it gains in loss it gives in similarity
    inputs = next(objective.stream())[0]
    as_it_was = outputs(NETWORK, full_state(NETWORK, other), inputs)
    assert (outputs(NETWORK, more, inputs) - as_it_was).abs().max() < 1e-5
    assert torch.equal(more.theta.sort().values, other.sort().values)


def test_the_seed_decides_everything(trained):
    objective, teacher, other = trained
    one, again = (align_by_loss(objective, teacher, other, steps=5, generator=seeded(4)) for _ in range(2))
    assert torch.equal(one.theta, again.theta)


@pytest.mark.parametrize(
    ("change", "said"), [({"steps": 0}, "at least 1 step, got 0"), ({"lr": 0.0}, "lr above 0, got 0.0")]
)
def test_a_search_that_cannot_move_is_refused(trained, change, said):
    objective, teacher, other = trained
    with pytest.raises(ValueError, match=said):
        align_by_loss(objective, teacher, other, **change)
    with pytest.raises(SpaceError):
        align_by_loss(objective, teacher, other[1:])
