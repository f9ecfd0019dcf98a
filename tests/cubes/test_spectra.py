"""Densities and effective dimensions of rules and eigenvalues that are known."""

import math

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes.spectra import density, effective_dimension

SCALES = [2.0**-27, 1.0, 2.0**27]


def rules(nodes, weights=None, **attrs):
    nodes = np.atleast_2d(np.asarray(nodes, dtype=float))
    weights = np.full_like(nodes, 1 / nodes.shape[1]) if weights is None else np.atleast_2d(weights)
    return xr.Dataset({"nodes": (("draw", "node"), nodes), "weights": (("draw", "node"), weights)}, attrs=attrs)


@pytest.mark.parametrize("width", [0.003, 0.01, 0.1])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("nodes", [[-0.6, 0.0, 12.98], [2.0, 2.0], [0.0], [-2.0]], ids=str)
def test_a_density_integrates_to_one_unforced_and_its_grid_holds_six_deviations(nodes, scale, width):
    found = density(rules(scale * np.array(nodes)), width=width)
    assert float(found["density"].integrate("grid")) == pytest.approx(1.0, abs=1e-8)
    sigma = found.attrs["sigma"]
    assert float(found["grid"][0]) <= scale * min(nodes) - 5.99 * sigma
    assert float(found["grid"][-1]) >= scale * max(nodes) + 5.99 * sigma


def test_the_kernel_width_is_relative_so_the_density_stretches_with_the_operator():
    stretched = [density(rules(scale * np.array([-0.6, 0.0, 2.0, 12.98])))["density"] * scale for scale in SCALES]
    for other in stretched[1:]:
        np.testing.assert_allclose(other, stretched[0], rtol=1e-6, atol=1e-9)


def test_the_density_is_the_mean_of_the_broadened_rules_with_its_standard_error():
    nodes, weights = np.array([[0.0, 1.0], [0.5, 2.0]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    found = density(rules(nodes, weights), width=0.1, grid=[0.2, 0.9])
    sigma = found.attrs["sigma"]
    assert sigma == pytest.approx(0.2)
    kernel = np.exp(-(((np.array([0.2, 0.9])[:, None, None] - nodes) / sigma) ** 2) / 2) / (
        sigma * math.sqrt(2 * np.pi)
    )
    draws = (kernel * weights).sum(-1)
    np.testing.assert_allclose(found["density"], draws.mean(1))
    np.testing.assert_allclose(found["density_sem"], draws.std(1, ddof=1) / 2**0.5)
    assert np.isnan(density(rules(nodes[:1], weights[:1]))["density_sem"]).all()


@pytest.mark.parametrize("scale", SCALES)
def test_scaling_eigenvalues_and_z_alike_leaves_the_effective_dimension(scale):
    values, z = np.array([7.0, 3.5, 1.0, -0.5]), np.logspace(-2, 2, 9)
    plain, scaled = (
        effective_dimension(xr.Dataset({"eigenvalues": ("eigenvalue", c * values)}), c * z, scale="mean")
        for c in (1.0, scale)
    )
    np.testing.assert_allclose(scaled["effective_dimension"], plain["effective_dimension"])


def test_the_effective_dimension_counts_eigenvalues_above_z_and_reports_the_negative_mass():
    spectrum = xr.Dataset({"eigenvalues": ("eigenvalue", [3.0, 1.0, 0.0, -1.0])})
    found = effective_dimension(spectrum, [1e-12, 1.0, 1e12], scale="mean")
    np.testing.assert_allclose(found["effective_dimension"], [2.0, 1.25, 0.0], atol=1e-10)
    assert (found["effective_dimension_sem"] == 0).all()
    assert float(found["negative_mass"]) == pytest.approx(0.2)
    nothing = xr.Dataset({"eigenvalues": ("eigenvalue", np.zeros(3))})
    assert float(effective_dimension(nothing, 1.0, scale="mean")["negative_mass"]) == 0


def test_a_width_that_is_not_positive_and_rules_without_nodes_are_refused():
    with pytest.raises(ValueError, match=r"positive width .* got width 0\.0"):
        density(rules([0.0, 1.0]), width=0.0)
    with pytest.raises(ValueError, match=r"finite nodes, got width .* and 0 nodes"):
        density(rules([np.nan]))
