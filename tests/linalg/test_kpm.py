import pytest
import torch

from kdlandscape.linalg.kpm import chebyshev_moments, jackson, kpm_density, kpm_grid
from tests.linalg.prescribed import SCALES, SPECTRA, Operator, normal, symmetric


def spectrum(scale: float = 1.0, b: int = 8, count: int = 41):
    operator = Operator(scale * symmetric(SPECTRA["indefinite"]))
    made = chebyshev_moments(operator, normal(b, operator.matrix.shape[0]), count, (-6.1 * scale, 7.1 * scale))
    assert made.num_matvecs == operator.products
    return made


def test_chebyshev_moments_are_those_of_the_start_vectors_at_half_a_product_each():
    made = spectrum()
    assert made.values.shape == (8, 41)
    assert made.num_matvecs == 8 * 20
    values, vectors = torch.linalg.eigh(symmetric(SPECTRA["indefinite"]))
    start = normal(8, 70)
    weights = ((start / start.norm(dim=1, keepdim=True)) @ vectors) ** 2
    angle = torch.arccos((values - 0.5) / 6.6)
    exact = weights @ torch.cos(angle[:, None] * torch.arange(41))
    torch.testing.assert_close(made.values, exact, atol=1e-11, rtol=0)


def test_jacksons_factors_start_at_one_and_fall_to_zero():
    factors = jackson(50)
    assert factors[0] == pytest.approx(1)
    assert (factors.diff() < 0).all()
    assert 0 < factors[-1] < 1e-3


@pytest.mark.parametrize("scale", SCALES)
def test_the_density_is_positive_and_integrates_to_one_on_its_grid(scale):
    made = spectrum(scale)
    grid, weights = kpm_grid(made.bounds, 200, like=made.values)
    density = kpm_density(made, grid)
    assert (density.value >= 0).all()
    assert (density.value * weights).sum() == pytest.approx(1, abs=1e-12)
    outside = kpm_density(made, torch.tensor([-7.0, 8.0]).double() * scale)
    assert (outside.value == 0).all()


def test_the_density_finds_the_mass_of_both_outlying_groups():
    made = spectrum(b=40, count=121)
    grid, weights = kpm_grid(made.bounds, 400, like=made.values)
    density = kpm_density(made, grid)
    for side in (grid < -2, grid > 2):
        draws = (density.draws * weights)[:, side].sum(1)
        assert abs(float(draws.mean()) - 5 / 70) <= 3 * float(draws.std()) / 40**0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chebyshev_moments(Operator(torch.eye(2)), torch.ones(1, 2), 9, (1.0, 1.0)), r"expected low < high"),
        (lambda: chebyshev_moments(Operator(torch.eye(2)), torch.ones(1, 2), 1, (0.0, 1.0)), r"num_moments >= 2"),
        (
            lambda: chebyshev_moments(Operator(torch.eye(2)), torch.zeros(1, 2), 9, (0.0, 2.0)),
            r"rows that are not zero",
        ),
        (lambda: chebyshev_moments(Operator(3 * torch.eye(2)), torch.ones(1, 2), 9, (0.0, 2.0)), r"> 1: widen them"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
