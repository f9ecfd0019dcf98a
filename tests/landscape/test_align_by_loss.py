from itertools import pairwise

import pytest
import torch

from kdlandscape.distillation import networks
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Ravel, SpaceError
from kdlandscape.landscape.paths.interpolation import barrier, interpolate
from kdlandscape.landscape.permutations.alignment import Pair, align, full_state, matching_of_weights
from kdlandscape.landscape.permutations.by_loss import RELAXATIONS, align_by_loss
from kdlandscape.landscape.permutations.sinkhorn import Soft, doubly_stochastic, mix
from kdlandscape.landscape.permutations.symmetries import trace_symmetry
from kdlandscape.landscape.reduction import cross_entropy
from tests.landscape.networks_with_units import KINDS
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


@pytest.mark.parametrize("method", RELAXATIONS)
def test_a_planted_permutation_is_found_and_leaves_no_barrier(trained, method):
    objective, teacher, _ = trained
    state = full_state(NETWORK, teacher)
    symmetry = trace_symmetry(NETWORK, next(objective.stream())[0])
    permuted = symmetry.permute(state, symmetry.random(seeded(3)))
    found = align_by_loss(objective, teacher, permuted, method=method, steps=3)
    assert torch.equal(found.theta, teacher)
    assert barrier(interpolate(objective, found, teacher, t=5)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", RELAXATIONS)
def test_the_loss_half_way_falls_below_that_of_weight_matching_and_the_function_stays(trained, method):
    objective, teacher, other = trained
    weights = align(objective, teacher, other)
    first, more = (align_by_loss(objective, teacher, other, method=method, steps=steps) for steps in (1, 40))
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


def test_matrices_that_are_permutations_mix_units_as_these_reorder_them():
    """Heads have units of their own: a matrix for each."""
    torch.manual_seed(0)
    make, shape, _ = KINDS["attention_of_other_keys"]
    model = make()
    symmetry = trace_symmetry(model, torch.randn(shape))
    orders = symmetry.random(seeded(5))
    assert any(order.ndim == 2 for order in orders.values())
    state = full_state(model.double(), model)
    matrices = {name: torch.nn.functional.one_hot(order).double() for name, order in orders.items()}
    mixed, reordered = symmetry.moved(state, matrices, mix), symmetry.permute(state, orders)
    for name, tensor in reordered.items():
        torch.testing.assert_close(mixed[name], tensor, msg=name)


def test_rows_and_columns_of_what_sinkhorn_makes_sum_to_one():
    matrix = doubly_stochastic(3 * torch.randn(2, 7, 7, generator=seeded(6), dtype=torch.float64), rounds=200)
    ones = torch.ones(2, 7, dtype=torch.float64)
    torch.testing.assert_close(matrix.sum(-1), ones)
    torch.testing.assert_close(matrix.sum(-2), ones)


def test_following_the_slope_lowers_the_loss_of_the_mixture_half_way(trained):
    objective, teacher, other = trained
    pair = Pair.of(objective, teacher, other)
    soft = Soft(pair.symmetry, pair.symmetry.identity(), lr=0.02)
    space = Ravel.of(pair.network)

    def middle():
        return ((space.ravel(pair.to) + space.ravel(soft.mixed(pair.moving))) / 2).float()

    losses = [float(objective.value(middle()))]
    for _ in range(10):
        slope = {name: x.double() for name, x in space.unravel(objective.grad(middle())).items()}
        soft.follow(matching_of_weights(pair.symmetry, pair.to | slope, pair.moving).blocks)
        losses.append(float(objective.value(middle())))
    assert all(after < before for before, after in pairwise(losses))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "sinkhor"}, "straight_through, sinkhorn; got 'sinkhor'. Did you mean 'sinkhorn'"),
        ({"steps": 0}, "at least 1 step, got 0"),
        ({"lr": 0.0}, "lr above 0, got 0.0"),
    ],
)
def test_a_search_that_cannot_move_is_refused(trained, change, said):
    objective, teacher, other = trained
    with pytest.raises(ValueError, match=said):
        align_by_loss(objective, teacher, other, **change)
    with pytest.raises(SpaceError):
        align_by_loss(objective, teacher, other[1:])
