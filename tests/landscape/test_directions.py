import pytest
import torch
from torch import nn

from kdlandscape.landscape.directions import plane_through, random_directions
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import Ravel
from kdlandscape.landscape.trajectory import coordinates, pca_directions
from tests.cases import CASES


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(6, 4), nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4), nn.ConvTranspose1d(4, 6, 2, groups=2),
        nn.Linear(4, 2),
    ).double()  # fmt: skip


def named(module, row):
    return Ravel.of(module).unravel(row)


def test_directions_are_gaussian_of_both_signs_and_orthogonal_before_normalization():
    module = nn.Linear(100, 100, bias=False)
    rows, norms, cosines, _ = random_directions(module, 3, normalize=None, generator=draw())
    assert abs(float(rows.mean())) < 0.03
    assert float(rows.std()) == pytest.approx(1, abs=0.02)
    assert 0.45 < float((rows > 0).double().mean()) < 0.55
    torch.testing.assert_close(cosines, torch.eye(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(norms, rows.norm(dim=1))


def test_cosines_and_norms_are_recorded_after_normalization():
    rows, norms, cosines, facts = random_directions(network(), 3, generator=draw())
    torch.testing.assert_close(norms, rows.norm(dim=1))
    torch.testing.assert_close(cosines, torch.nn.functional.normalize(rows) @ torch.nn.functional.normalize(rows).T)
    assert float((cosines - torch.eye(3)).abs().max()) > 1e-6  # not quite orthogonal any more, and said so
    assert facts == {"normalize": "filter", "params": "*", "skip_1d": 1}


def test_the_norm_of_a_model_normalized_direction_is_exactly_that_of_the_weights():
    module = network()
    rows = random_directions(module, normalize="model", skip_1d=False, generator=draw()).directions
    torch.testing.assert_close(rows.norm(dim=1), Ravel.of(module).ravel(module).norm().expand(2))


def test_layers_keep_their_norms_and_one_dimensional_tensors_stay():
    module = network()
    theta = dict(module.named_parameters())
    for name, part in named(
        module, random_directions(module, normalize="layer", generator=draw()).directions[0]
    ).items():
        goal = theta[name].norm() if theta[name].ndim > 1 else torch.tensor(0.0, dtype=torch.float64)
        torch.testing.assert_close(part.norm(), goal.detach())


def test_filters_are_rows_of_an_embedding_and_outputs_of_a_transposed_convolution():
    module = network()
    theta = {name: p.detach() for name, p in module.named_parameters()}
    parts = named(module, random_directions(module, generator=draw()).directions[0])
    for name in ("0.weight", "1.weight", "4.weight"):
        torch.testing.assert_close(parts[name].flatten(1).norm(dim=1), theta[name].flatten(1).norm(dim=1))
    for group in range(2):  # outputs on axis 1, apart for each group of inputs
        rows = slice(2 * group, 2 * group + 2)
        torch.testing.assert_close(parts["3.weight"][rows].norm(dim=(0, 2)), theta["3.weight"][rows].norm(dim=(0, 2)))


def test_a_zero_filter_or_a_fresh_bias_gets_a_zero_direction():
    module = network()
    with torch.no_grad():
        module[1].weight[2] = 0
    parts = named(module, random_directions(module, skip_1d=False, generator=draw()).directions[0])
    assert (parts["1.weight"][2] == 0).all()
    assert (parts["2.bias"] == 0).all()  # BatchNorm's shift starts at zero
    torch.testing.assert_close(parts["2.weight"].norm(), module[2].weight.detach().norm())  # one filter, not one each
    assert torch.isfinite(torch.cat([p.flatten() for p in parts.values()])).all()


def test_directions_of_a_block_leave_the_rest_alone():
    module = network()
    parts = named(module, random_directions(module, params="1.*", generator=draw()).directions[1])
    assert [name for name, part in parts.items() if (part != 0).any()] == ["1.weight"]
    with pytest.raises(ValueError, match=r"'4.wieght' matches no parameter: .* nearest are 4.weight"):
        random_directions(module, params="4.wieght", generator=draw())
    with pytest.raises(ValueError, match="at most 12 directions"):
        random_directions(nn.Linear(4, 3), 13, generator=draw())
    with pytest.raises(ValueError, match="filter, layer, model or None; got 'filters'"):
        random_directions(module, normalize="filters", generator=draw())


def test_a_module_an_objective_a_state_dict_and_a_flat_theta_give_the_same_directions():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    expected = random_directions(module, generator=draw()).directions
    for theta, space in ((objective, None), (module.state_dict(), None), (objective.theta, module)):
        assert torch.equal(random_directions(theta, space=space, generator=draw()).directions, expected)
    with pytest.raises(ValueError, match="expected space=objective or a module"):
        random_directions(objective.theta, generator=draw())


def test_directions_repeat_with_their_generator_and_leave_the_global_random_state():
    module, state = network(), torch.get_rng_state()
    a, b = (random_directions(module, generator=draw(5)).directions for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())


def trajectory():
    return torch.randn(7, 40, dtype=torch.float64, generator=draw()).cumsum(0) + 3.0


def test_the_plane_of_a_trajectory_holds_the_final_weights_and_says_what_is_off_it():
    rows = trajectory()
    plane = pca_directions(rows)
    assert torch.equal(plane.origin, rows[-1])
    torch.testing.assert_close(plane.points[-1], torch.zeros(2, dtype=torch.float64))
    assert float(plane.residuals[-1]) < 1e-12
    rest = rows - plane.origin - plane.points @ plane.directions
    torch.testing.assert_close(plane.residuals, rest.norm(dim=1))
    torch.testing.assert_close(rest @ plane.directions.T, torch.zeros(7, 2, dtype=torch.float64))
    spectrum = torch.linalg.eigvalsh((rows - rows[-1]) @ (rows - rows[-1]).T).flip(0)
    torch.testing.assert_close(plane.explained, spectrum[:2] / spectrum.sum())
    assert (plane.points[0] >= 0).all()
    with pytest.raises(ValueError, match="more than 2 checkpoints"):
        pca_directions(rows[:2])
    with pytest.raises(ValueError, match="spans 2 dimensions"):
        pca_directions(torch.linspace(0, 1, 5)[:, None] * rows[0])


def test_each_checkpoint_has_its_true_loss_not_that_of_its_projection():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    rows = objective.theta + 0.1 * torch.randn(5, objective.dim, dtype=torch.float64, generator=draw())
    plane = pca_directions(list(rows), objective=objective)
    torch.testing.assert_close(plane.losses["loss"], torch.stack([objective.value(row) for row in rows]))
    with pytest.raises(ValueError, match="got OrderedDict: give objective"):
        pca_directions([module.state_dict()] * 4)


def test_coordinates_are_least_squares_for_directions_of_any_length_and_angle():
    directions = torch.tensor([[2.0, 0, 0], [1.0, 3.0, 0]])
    found, distances = coordinates(torch.tensor([[4.0, 3.0, 5.0]]), torch.zeros(3), directions)
    torch.testing.assert_close(found, torch.tensor([[1.5, 1.0]]))
    torch.testing.assert_close(distances, torch.tensor([5.0]))
    with pytest.raises(ValueError, match="2 linearly independent directions"):
        coordinates(torch.ones(1, 3), torch.zeros(3), torch.ones(2, 3))


def test_a_plane_through_two_networks_draws_its_second_direction():
    a, b = torch.randn(2, 30, dtype=torch.float64, generator=draw())
    plane = plane_through(a, b, generator=draw(1))
    torch.testing.assert_close(plane.points, torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64))
    assert abs(float(plane.directions[0] @ plane.directions[1])) < 1e-10
    torch.testing.assert_close(plane_through(a, b).directions, plane_through(a, b, generator=draw(0)).directions)
    with pytest.raises(ValueError, match="adds no direction"):
        plane_through(a, b, b)
