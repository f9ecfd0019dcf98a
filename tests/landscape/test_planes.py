import pytest
import torch

from kdlandscape.landscape.directions import plane_through
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.slices import slice_plane
from tests import dense
from tests.cases import CASES


def three(dim=50):
    return torch.randn(3, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_plane_goes_through_its_three_points_and_is_not_distorted():
    a, b, c = three()
    plane = plane_through(a, b, c)
    for point, (x, y) in zip((a, b, c), plane.points.tolist(), strict=True):
        torch.testing.assert_close(plane.origin + x * plane.directions[0] + y * plane.directions[1], point)
    assert plane.points[0].tolist() == [0, 0]
    assert plane.points[1].tolist() == pytest.approx([1, 0])
    assert plane.points[2, 1] > 0
    torch.testing.assert_close(plane.directions @ plane.directions.T, (b - a).norm() ** 2 * torch.eye(2).double())


def test_a_unit_of_length_makes_planes_comparable():
    a, b, c = three()
    plane = plane_through(a, b, c, unit=2.0)
    assert plane.directions.norm(dim=1).tolist() == pytest.approx([2, 2])
    assert float(plane.points[1, 0]) == pytest.approx(float((b - a).norm() / 2))


def test_points_on_one_line_are_refused_or_completed_at_random():
    a, b, _ = three()
    for second, third in ((b, a + 2 * (b - a)), (a, a), (b, b)):
        with pytest.raises(ValueError, match="adds no direction"):
            plane_through(a, second, third, unit=1.0)
        plane = plane_through(a, second, third, unit=1.0, fill=True, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(plane.directions @ plane.directions.T, torch.eye(2).double())
        x, y = plane.points[2]
        torch.testing.assert_close(plane.origin + x * plane.directions[0] + y * plane.directions[1], third)


def test_coincident_points_need_a_unit():
    a = three()[0]
    with pytest.raises(ValueError, match="give a unit of length"):
        plane_through(a, a, a)


def test_a_plane_of_any_shape_puts_every_value_at_its_own_coordinates():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    directions = three(objective.dim)[:2]
    plane = slice_plane(objective, module, directions, x=[-1, 0, 0.5], y=[0, 2])
    assert plane["loss"].dims == ("y", "x")
    for x in plane["x"].values:
        for y in plane["y"].values:
            theta = dense.theta_of(module) + x * directions[0] + y * directions[1]
            expected = dense.value(module, loss, data, theta).item()
            assert plane["loss"].sel(x=x, y=y).item() == pytest.approx(expected, rel=1e-12)
    assert plane["loss"].sel(x=0, y=0).item() == objective.value(module).item()


@pytest.mark.parametrize("far", [0.01, 0.4, 1.3])
def test_with_a_step_the_second_point_lies_on_the_grid_and_the_plane_is_not_distorted(far):
    a, b, c = three()
    b = a + far * (b - a) / (b - a).norm()
    plane = plane_through(a, b, c, unit=1.0, step=0.125)
    steps = float(plane.points[1, 0]) / 0.125
    assert steps == pytest.approx(max(round(far / 0.125), 1))
    length = plane.directions.norm(dim=1)
    torch.testing.assert_close(length[0], length[1])
    assert abs(float(length[0]) - 1) * plane.points[1, 0] <= 0.0625 + 1e-9 or far < 0.125
    torch.testing.assert_close(plane.origin + plane.points[1, 0] * plane.directions[0], b)
    with pytest.raises(ValueError, match="step: expected a positive distance"):
        plane_through(a, b, c, step=0.0)
