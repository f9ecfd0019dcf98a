"""Spectra against dense float64 eigenvalues, with the errors that they state."""

import numpy as np
import pytest
import torch
import xarray as xr

import kdlandscape as kdl
from kdlandscape.cubes.schema import check
from kdlandscape.cubes.spectra import density, effective_dimension
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from tests import dense
from tests.cases import CASES, IDS
from tests.linalg.prescribed import binomial_floor, means


def made(name="mlp", **settings):
    module, loss, data = CASES[IDS.index(name)].make()
    return module, loss, data, Objective(module, loss, data, **settings), dense.theta_of(module)


MAKE = {"hessian": kdl.hessian, "ggn": kdl.ggn, "fisher": kdl.fisher, "empirical_fisher": kdl.empirical_fisher}


def rng(seed):
    return torch.Generator().manual_seed(seed)


def tensor(array):
    return torch.tensor(np.asarray(array))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_eigenvalues_moments_and_effective_dimension_equal_those_of_the_dense_matrix(case):
    module, loss, data = case.make()
    objective = Objective(module, loss, data, batch_size=7)
    theta = dense.theta_of(module) * 1.1
    true = torch.linalg.eigvalsh(dense.hessian(module, loss, data, theta))
    h = kdl.hessian(objective, theta)
    found = h.top_eigenpairs(5, which="both", tol=1e-9)
    check(found)
    expected = torch.cat([true.flip(0)[:3], true[:2].flip(0)])
    torch.testing.assert_close(tensor(found["eigenvalues"]), expected, rtol=1e-8, atol=1e-9)
    assert found["converged"].all()

    rules = h.spectral_density(num_matvecs=20, num_draws=6)
    check(rules)
    for power in range(5):
        draws = means(tensor(rules["nodes"]), tensor(rules["weights"]), lambda x, p=power: x**p)
        exact = (true**power).mean()
        assert (draws.mean() - exact).abs() <= 4 * draws.std() / 6**0.5 + 1e-10 * exact.abs()

    z = [0.1, 1.0, 10.0]
    estimate = h.effective_dimension(z)
    check(estimate)
    scaled = true.clamp(min=0) * rules.attrs["total_weight"]
    gap = estimate["effective_dimension"] - [float((scaled / (scaled + at)).sum()) for at in z]
    error = 4 * estimate["effective_dimension_sem"] + estimate["effective_dimension_truncation"]
    assert (abs(gap) <= error + 1e-8).all()
    assert float(rules["density"].integrate("grid")) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("curvature", ["ggn", "fisher", "empirical_fisher"])
@pytest.mark.parametrize("params", [None, "2.*"])
def test_other_curvatures_and_blocks_have_the_eigenvalues_of_their_dense_matrices(curvature, params):
    module, loss, data, objective, theta = made()
    found = MAKE[curvature](objective, theta, params=params).top_eigenpairs(3, tol=1e-9, vectors=True)
    places = torch.tensor(found["dim"].values)
    matrix = getattr(dense, curvature)(module, loss, data, theta)[places][:, places]
    torch.testing.assert_close(
        tensor(found["eigenvalues"]), torch.linalg.eigvalsh(matrix).flip(0)[:3], rtol=1e-8, atol=1e-10
    )
    assert len(places) == (objective.dim if params is None else 30)
    assert found.attrs["params"] == (params or "all")


def test_eigenvectors_come_on_request_and_satisfy_their_equation():
    module, _, _, objective, _ = made()
    spectrum = kdl.hessian(objective, module).top_eigenpairs(2, tol=1e-8, vectors=True)
    vectors, values = tensor(spectrum["eigenvectors"]), tensor(spectrum["eigenvalues"])
    residual = objective.hvp(module, vectors) - values[:, None] * vectors
    assert residual.norm(dim=1).max() <= 1e-7 * values[0]
    assert spectrum["eigenvectors"].dims == ("eigenvalue", "dim")
    assert spectrum.attrs["num_matvecs"] > 0


def test_a_start_block_that_holds_the_eigenvectors_needs_few_products():
    module, _, _, objective, _ = made()
    cold = kdl.hessian(objective, module).top_eigenpairs(3, vectors=True)
    start = tensor(cold["eigenvectors"]).sum(0, keepdim=True)
    again = kdl.hessian(objective, module).top_eigenpairs(3, start=start, stop="value")
    assert again.attrs["num_matvecs"] < 0.5 * cold.attrs["num_matvecs"]
    np.testing.assert_allclose(again["eigenvalues"], cold["eigenvalues"], rtol=1e-6)


def test_single_and_double_precision_agree_on_demand():
    module, loss, data = CASES[0].make(dtype=torch.float32)
    objective = Objective(module, loss, data)
    single, double = (kdl.hessian(objective, module, dtype=dtype).top_eigenpairs(3) for dtype in (None, torch.float64))
    assert double["eigenvalues"].dtype == np.float64
    np.testing.assert_allclose(single["eigenvalues"], double["eigenvalues"], rtol=1e-5)


# ---- densities


def test_the_density_integrates_to_one_unforced_and_less_on_a_grid_that_cuts_it():
    _, _, _, objective, theta = made("tanh")
    whole = kdl.hessian(objective, theta).spectral_density(num_matvecs=15, num_draws=3)
    assert float(whole["density"].integrate("grid")) == pytest.approx(1.0, abs=1e-7)
    part = density(whole, grid=whole["grid"].values[:40])
    assert float(part["density"].integrate("grid")) < 0.9


def test_a_missing_cell_of_a_cube_has_no_density():
    _, _, _, objective, theta = made("tanh")
    rules = kdl.hessian(objective, theta).spectral_density(num_matvecs=5, num_draws=2).drop_dims("grid")
    cube = xr.concat([rules, xr.full_like(rules, np.nan)], xr.DataArray([0, 1], dims="seed", name="seed"))
    found = density(cube)["density"]
    assert np.isfinite(found.sel(seed=0)).all()
    assert np.isnan(found.sel(seed=1)).all()


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_trap_4_and_8_the_density_of_c_times_the_loss_is_stretched_by_c(factor):
    module, _, data, _, theta = made("tanh")
    cross_entropy = torch.nn.functional.cross_entropy
    densities = [
        kdl.hessian(
            Objective(module, lambda z, y, c=c: c * cross_entropy(z, y, reduction="none"), data), theta
        ).spectral_density(num_matvecs=10, num_draws=2)
        for c in (1.0, factor)
    ]
    np.testing.assert_allclose(densities[1]["grid"], factor * densities[0]["grid"], rtol=1e-6)
    np.testing.assert_allclose(factor * densities[1]["density"], densities[0]["density"], rtol=1e-4, atol=1e-6)


def test_traps_6_and_7_a_krylov_space_that_closes_gives_real_weights_that_sum_to_one():
    _, _, _, objective, theta = made("frozen")
    rules = kdl.hessian(objective, theta).spectral_density(num_matvecs=200, num_draws=3)
    assert rules.sizes["node"] <= objective.dim
    assert rules["weights"].dtype == np.float64
    np.testing.assert_allclose(rules["weights"].sum("node"), 1.0, atol=1e-12)


def test_the_polynomial_density_has_the_moments_of_the_dense_matrix_and_integrates_to_one():
    module, loss, data, objective, theta = made("tanh")
    h = kdl.hessian(objective, theta)
    found = h.spectral_density(method="kpm", num_matvecs=60, num_draws=20)
    check(found)
    assert float(found["density"].integrate("grid")) == pytest.approx(1.0, abs=1e-2)
    mean = (found["density"] * found["grid"]).integrate("grid")
    true = float(dense.hessian(module, loss, data, theta).diagonal().mean())
    sem = found["chebyshev_moments"].isel(moment=1).std("draw") / 20**0.5
    assert abs(float(mean) - true) < 4 * float(sem) * (found.attrs["bounds"][1] - found.attrs["bounds"][0]) / 2 + 0.01
    part = h.spectral_density(method="kpm", num_matvecs=20, num_draws=2, grid=[0.0, 0.1])
    assert part["density"].shape == (2,)


# ---- honest errors


def coverage(estimates, truth):
    return np.mean([abs(float(value) - truth) <= 2 * float(sem) for value, sem in estimates])


@pytest.mark.parametrize(
    ("method", "curvature", "products"),
    [("hutchinson", "hessian", 24), ("hutchpp", "hessian", 45), ("xtrace", "hessian", 40), ("xnystrace", "ggn", 20)],
)
def test_the_trace_lies_within_two_standard_errors_about_as_often_as_it_should(method, curvature, products):
    module, loss, data, objective, theta = made()
    truth = float(getattr(dense, curvature)(module, loss, data, theta).trace())
    a = MAKE[curvature](objective, theta)
    found = [a.trace(method=method, rtol=0, max_matvecs=products, generator=rng(seed)) for seed in range(60)]
    hits = coverage([(one["trace"], one["trace_sem"]) for one in found], truth)
    assert binomial_floor(60, 0.92) / 60 <= hits <= 1


def test_the_effective_dimension_lies_within_two_standard_errors_about_as_often_as_it_should():
    module, loss, data, objective, theta = made("tanh")
    true = torch.linalg.eigvalsh(dense.ggn(module, loss, data, theta)).clamp(min=0) * len(data[1])
    truth = float((true / (true + 0.5)).sum())
    found, g = [], kdl.ggn(objective, theta)
    for seed in range(50):
        one = g.effective_dimension(0.5, num_matvecs=12, num_draws=5, generator=rng(seed))
        found.append((one["effective_dimension"][0], one["effective_dimension_sem"][0]))
    assert 0.8 <= coverage(found, truth) <= 1


def test_the_diagonal_lies_within_two_standard_errors_about_as_often_as_it_should():
    module, loss, data, objective, theta = made("tanh")
    truth = dense.hessian(module, loss, data, theta).diagonal().numpy()
    inside, h = [], kdl.hessian(objective, theta)
    for seed in range(50):
        one = h.diagonal(max_matvecs=40, generator=rng(seed))
        inside.append(abs(one["diagonal"] - truth) <= 2 * one["diagonal_sem"] + 1e-12)
    assert 0.92 <= float(np.mean(inside)) <= 0.98


@pytest.mark.parametrize("name", ["mlp", "class_weights"])
def test_relu_networks_have_the_trace_of_their_gauss_newton_matrix_at_a_smaller_error(name):
    module, loss, data, objective, theta = made(name)
    hessian, ggn = (dense.hessian(module, loss, data, theta), dense.ggn(module, loss, data, theta))
    torch.testing.assert_close(hessian.diagonal(), ggn.diagonal(), rtol=1e-10, atol=1e-12)
    errors = [
        float(MAKE[curvature](objective, theta).trace(rtol=0, max_matvecs=40)["trace_sem"])
        for curvature in ("hessian", "ggn")
    ]
    assert errors[1] < 0.5 * errors[0]


def test_trap_9_the_trace_stops_on_its_standard_error_and_says_so():
    _, _, _, objective, theta = made()
    h = kdl.hessian(objective, theta)
    found = h.trace(rtol=0.1, max_matvecs=200)
    assert found["trace_converged"]
    assert float(found["trace_sem"]) <= 0.1 * abs(float(found["trace"]))
    assert not h.trace(rtol=1e-9, method="hutchinson", max_matvecs=12)["trace_converged"]


def test_trap_10_values_are_sorted_and_residuals_are_those_of_the_vectors():
    _, _, _, objective, theta = made("cnn_group_norm")
    found = kdl.hessian(objective, theta).top_eigenpairs(8, tol=1e-3, vectors=True)
    vectors, values = tensor(found["eigenvectors"]), tensor(found["eigenvalues"])
    assert (values.diff() <= 0).all()
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)
    residuals = (objective.hvp(theta, vectors) - values[:, None] * vectors).norm(dim=1)
    torch.testing.assert_close(tensor(found["residuals"]), residuals, rtol=1e-6, atol=1e-12)


def test_trap_11_pairs_short_of_the_tolerance_say_so():
    _, _, _, objective, theta = made()
    assert not kdl.hessian(objective, theta).top_eigenpairs(5, max_matvecs=6)["converged"].all()


# ---- effective dimension


def test_the_effective_dimension_of_eigenvalues_equals_the_formula():
    values = np.array([3.0, 1.0, 0.2, -0.4])
    spectrum = xr.Dataset({"eigenvalues": ("eigenvalue", values)}, attrs={"total_weight": 10.0, "num_parameters": 4})
    z = np.array([0.1, 2.0])
    mean = effective_dimension(spectrum, z, scale="mean")
    check(mean)
    np.testing.assert_allclose(mean["effective_dimension"], sum(x / (x + z) for x in values[:3]))
    assert float(mean["negative_mass"]) == pytest.approx(0.4 / 4.6)
    total = effective_dimension(spectrum, z)
    np.testing.assert_allclose(total["effective_dimension"], sum(10 * x / (10 * x + z) for x in values[:3]))
    assert total.attrs["bound"] == "exact"
    few = effective_dimension(spectrum.isel(eigenvalue=slice(2)), z)
    assert few.attrs["bound"] == "lower bound"
    assert (few["effective_dimension"] <= total["effective_dimension"]).all()


def test_sum_and_mean_of_the_loss_agree_once_z_is_divided_by_the_number_of_examples():
    _, _, _, objective, theta = made()
    rules = kdl.hessian(objective, theta).spectral_density(num_matvecs=10, num_draws=3)
    total, mean = effective_dimension(rules, [2.3]), effective_dimension(rules, [0.1], scale="mean")
    np.testing.assert_allclose(total["effective_dimension"], mean["effective_dimension"])
    single = effective_dimension(rules.isel(draw=[0]), [2.3])
    assert np.isnan(single["effective_dimension_sem"]).all()


def test_class_weights_count_as_examples_in_the_effective_dimension():
    _, loss, data, objective, theta = made("class_weights")
    spectrum = kdl.hessian(objective, theta).top_eigenpairs(1)
    assert spectrum.attrs["total_weight"] == pytest.approx(float(loss.weight[data[1]].sum()))


# ---- bad input


def test_bad_questions_are_refused_with_what_to_do():
    module, _, _, objective, theta = made()
    with pytest.raises(ValueError, match=r"expected 1 <= k <= n = 73, got k = 74"):
        kdl.hessian(objective, module).top_eigenpairs(74)
    with pytest.raises(ValueError, match=r"expected 1 <= k <= n = 30, got k = 31"):
        kdl.hessian(objective, module, params="2.*").top_eigenpairs(31)
    with pytest.raises(SpaceError, match="expected theta of shape"):
        kdl.hessian(objective, theta[:-1]).trace()
    with pytest.raises(ValueError, match="loss at theta is nan"):
        kdl.hessian(objective, theta * torch.nan).spectral_density()
    with pytest.raises(ValueError, match="slq or kpm, got 'fft'"):
        kdl.hessian(objective, module).spectral_density(method="fft")
    with pytest.raises(ValueError, match="one of xtrace, xnystrace, hutchpp, hutchinson; got 'guess'"):
        kdl.hessian(objective, theta).trace(method="guess")
    with pytest.raises(ValueError, match="use xtrace, or ask the ggn"):
        kdl.hessian(objective, theta).trace(method="xnystrace")
    with pytest.raises(ValueError, match="positive width and finite nodes, got width 0"):
        kdl.hessian(objective, theta).spectral_density(num_matvecs=3, num_draws=1, width=0)


def test_bad_effective_dimensions_are_refused_with_what_to_do():
    spectrum = xr.Dataset({"eigenvalues": ("eigenvalue", [1.0])})
    with pytest.raises(ValueError, match=r"every z to be positive, got \[0.0\]"):
        effective_dimension(spectrum, 0.0)
    with pytest.raises(ValueError, match="scale to be sum or mean, got 'total'"):
        effective_dimension(spectrum, 1.0, scale="total")
    with pytest.raises(ValueError, match="give total_weight, or scale='mean'"):
        effective_dimension(spectrum, 1.0)
    with pytest.raises(ValueError, match="expected nodes or eigenvalues in the spectrum, got loss"):
        effective_dimension(xr.Dataset({"loss": 1.0}), 1.0, scale="mean")
    rules = xr.Dataset({name: (("draw", "node"), [[1.0]]) for name in ("nodes", "weights")})
    with pytest.raises(ValueError, match="expected num_parameters in the attrs"):
        effective_dimension(rules, 1.0, scale="mean")
