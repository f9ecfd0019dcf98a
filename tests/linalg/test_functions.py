import pytest
import torch

from kdlandscape.linalg.functions import effective_dimension, effective_dimension_from_quadrature
from kdlandscape.linalg.slq import quadrature
from kdlandscape.linalg.tridiagonal import tridiagonalize
from tests.linalg.prescribed import SCALES, SPECTRA, Operator, binomial_floor, normal, symmetric

Z = torch.logspace(-2, 2, 9, dtype=torch.float64)


def test_the_effective_dimension_counts_eigenvalues_above_z():
    found = effective_dimension(torch.tensor([3.0, 1.0, 0.0]).double(), torch.tensor([1e-12, 1.0, 1e12]).double())
    torch.testing.assert_close(found.value, torch.tensor([2.0, 1.25, 0.0]).double(), atol=1e-10, rtol=0)
    assert (found.sem == 0).all()


def test_negative_eigenvalues_are_clipped_and_their_mass_is_reported():
    found = effective_dimension(torch.tensor([3.0, 1.0, -1.0]).double(), Z)
    torch.testing.assert_close(found.value, effective_dimension(torch.tensor([3.0, 1.0]).double(), Z).value)
    assert found.negative_mass == pytest.approx(0.2)
    assert effective_dimension(torch.zeros(3), Z).negative_mass == 0


@pytest.mark.parametrize("scale", SCALES)
def test_scaling_operator_and_z_alike_changes_nothing(scale):
    values = torch.tensor(SPECTRA["indefinite"]).double()
    torch.testing.assert_close(
        effective_dimension(scale * values, scale * Z).value, effective_dimension(values, Z).value
    )


def test_quadrature_gives_it_within_two_standard_errors_as_often_as_it_should():
    spectrum = torch.tensor(SPECTRA["deep net"]).double()
    matrix, exact, hits = symmetric(SPECTRA["deep net"]), effective_dimension(spectrum, Z), torch.zeros(9)
    for seed in range(60):
        made = tridiagonalize(Operator(matrix), normal(15, 120, seed), 25)
        found = effective_dimension_from_quadrature(*quadrature(made.alpha, made.beta), 120, Z)
        hits += (found.value - exact.value).abs() <= 2 * found.sem
    assert (hits >= binomial_floor(60, 0.92)).all()
    assert found.negative_mass == pytest.approx(exact.negative_mass, rel=0.5)


def test_z_must_be_positive():
    with pytest.raises(ValueError, match=r"every z must be positive, got \[0.0\]"):
        effective_dimension(torch.ones(2), torch.zeros(1))
