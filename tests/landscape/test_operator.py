"""A curvature is built once and asked many times: what it prepares, what it remembers, and how it labels."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.cubes.schema import check
from kdlandscape.landscape.curvature import compilation, maps
from kdlandscape.landscape.objective import Objective
from tests import dense
from tests.cases import CASES, IDS


def made(name="tanh", **settings):
    module, loss, data = CASES[IDS.index(name)].make()
    return module, loss, data, Objective(module, loss, data, **settings), dense.theta_of(module)


def ask(h):
    """Ask for eigenpairs, trace and density."""
    h.top_eigenpairs(3)
    h.trace(rtol=0, max_matvecs=20)
    h.spectral_density(num_matvecs=5, num_draws=2)


@pytest.mark.parametrize("make", [kdl.hessian, kdl.ggn])
def test_eigenpairs_trace_and_density_of_one_operator_prepare_its_graphs_once(monkeypatch, make):
    prepared = []
    monkeypatch.setattr(maps, "linearize", lambda *a, old=maps.linearize: prepared.append(a[2]) or old(*a))
    *_, objective, theta = made(batch_size=7)
    ask(make(objective, theta))
    assert len(prepared) == 4  # one graph for each batch of 7, 7, 7 and 2 examples


def test_compiled_products_serve_eigenpairs_trace_and_density(monkeypatch):
    for home, name in ((torch, "compile"), (torch._inductor, "compile")):
        monkeypatch.setattr(home, name, lambda function, *_, **__: function)
    monkeypatch.setattr(compilation, "fastest", lambda functions, **_: [0.5, 1.0])
    *_, objective, theta = made()
    h = kdl.hessian(objective, theta, compile=True)
    assert h.facts["compiled"] == "whole"
    used, eager = [], []
    old = compilation.Compiled.linearize
    monkeypatch.setattr(compilation.Compiled, "linearize", lambda *a: used.append(h.num_matvecs) or old(*a))
    monkeypatch.setattr(maps, "linearize", lambda *a: eager.append(a))
    ask(h)
    assert not eager
    assert len(used) > 3


def test_what_was_found_is_not_searched_again():
    *_, objective, theta = made("cnn_group_norm")
    h = kdl.hessian(objective, theta)
    first = h.top_eigenpairs(4, vectors=True)
    spent = h.num_matvecs
    assert first.attrs["num_matvecs"] == spent
    fewer = h.top_eigenpairs(2, tol=1e-3, stop="value", vectors=True)
    assert h.num_matvecs == spent
    np.testing.assert_array_equal(fewer["eigenvectors"], first["eigenvectors"][:2])
    more = h.top_eigenpairs(6)
    alone = kdl.hessian(objective, theta).top_eigenpairs(6)
    np.testing.assert_allclose(more["eigenvalues"], alone["eigenvalues"], rtol=1e-6)
    assert 0 < h.num_matvecs - spent <= 0.8 * alone.attrs["num_matvecs"]
    assert more.attrs["num_matvecs"] == h.num_matvecs


def test_half_of_both_ends_is_taken_from_each():
    module, loss, data, objective, theta = made()
    h = kdl.hessian(objective, theta)
    h.top_eigenpairs(6, which="both")
    spent = h.num_matvecs
    true = torch.linalg.eigvalsh(dense.hessian(module, loss, data, theta)).flip(0)
    for k in (1, 2, 3, 5):
        low = k // 2
        expected = torch.cat([true[: k - low], true[len(true) - low :]])
        np.testing.assert_allclose(h.top_eigenpairs(k, which="both")["eigenvalues"], expected, atol=1e-6)
    assert h.num_matvecs == spent


def test_the_effective_dimension_after_a_density_costs_no_product():
    *_, objective, theta = made()
    h = kdl.hessian(objective, theta)
    rules = h.spectral_density(num_matvecs=8, num_draws=3)
    spent = h.num_matvecs
    found = h.effective_dimension([0.1, 1.0])
    wide = h.spectral_density(num_matvecs=8, num_draws=2, width=0.1)
    assert h.num_matvecs == spent == rules.attrs["num_matvecs"]
    np.testing.assert_array_equal(wide["nodes"], rules["nodes"][:2])
    expected = kdl.effective_dimension(rules, [0.1, 1.0])
    np.testing.assert_array_equal(found["effective_dimension"], expected["effective_dimension"])
    assert found.attrs["curvature"] == "hessian"
    h.effective_dimension(1.0, num_matvecs=9)
    assert h.num_matvecs > spent


def test_a_question_with_its_own_generator_draws_anew():
    *_, objective, theta = made()
    h = kdl.hessian(objective, theta)
    plain = h.quadrature(num_matvecs=5, num_draws=2)
    other = h.quadrature(num_matvecs=5, num_draws=2, generator=torch.Generator().manual_seed(7))
    again = h.quadrature(num_matvecs=5, num_draws=2, generator=torch.Generator().manual_seed(0))
    assert h.num_matvecs == 30
    np.testing.assert_array_equal(plain["nodes"], again["nodes"])
    assert (plain["nodes"] != other["nodes"]).any()


def test_the_operator_multiplies_vectors_and_rows():
    module, loss, data, objective, theta = made()
    h = kdl.hessian(objective, theta)
    v = torch.randn(2, h.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = v @ dense.hessian(module, loss, data, theta)
    torch.testing.assert_close(h @ v, expected)
    torch.testing.assert_close(h(v[0]), expected[0])
    assert h.num_matvecs == 3


NAMED = {
    "hessian": "Hessian eigenvalue of the mean loss",
    "ggn": "Gauss–Newton eigenvalue of the mean loss",
    "fisher": "Fisher eigenvalue of the mean loss",
    "empirical_fisher": "empirical Fisher eigenvalue of the mean loss",
}


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize(("case", "units"), [("regression", "1"), ("tanh", "nat")])
def test_every_number_is_named_after_its_matrix_and_has_the_unit_of_its_loss(case, units, kind):
    *_, objective, theta = made(case)
    a = getattr(kdl, kind)(objective, theta)
    pairs = a.top_eigenpairs(1, vectors=True)
    assert pairs["eigenvalues"].attrs == {"long_name": NAMED[kind], "units": units}
    density = a.spectral_density(num_matvecs=4, num_draws=2)
    polynomial = a.spectral_density(method="kpm", num_matvecs=4, num_draws=2)
    per = "1" if units == "1" else "1/nat"
    assert density["nodes"].attrs["units"] == units
    assert density["density"].attrs["units"] == polynomial["density"].attrs["units"] == per
    trace, diagonal = a.trace(max_matvecs=8), a.diagonal(max_matvecs=8)
    assert trace["trace"].attrs["units"] == diagonal["diagonal"].attrs["units"] == units
    for found in (pairs, density, polynomial, trace, diagonal, a.effective_dimension(1.0)):
        check(found)
        assert found.attrs["curvature"] == kind


def test_a_step_away_from_any_network_is_labelled_without_a_teacher():
    *_, objective, theta = made()
    moved = kdl.perturb(objective, theta, kdl.hessian(objective, theta).top_eigenpairs(1, vectors=True), [0.1])
    assert moved["kl"].attrs["long_name"] == "KL(network at theta ‖ network after the step)"
    assert not any("teacher" in str(array.attrs) for array in moved.variables.values())


def test_another_network_is_asked_with_its_own_running_statistics():
    module, loss, data, objective, _ = made("batch_norm")
    other = CASES[IDS.index("batch_norm")].make()[0]
    other[1].running_mean += 0.7
    other[1].running_var *= 3
    expected = torch.linalg.eigvalsh(dense.hessian(other, loss, data, dense.theta_of(other)))[-1]
    for network in (other, other.state_dict()):
        found = kdl.hessian(objective, network).top_eigenpairs(1)
        assert float(found["eigenvalues"][0]) == pytest.approx(float(expected))
    assert float(kdl.sharpness(objective, other)["sharpness"]) == pytest.approx(float(expected))
    assert float(kdl.hessian(objective, module).top_eigenpairs(1)["eigenvalues"][0]) != pytest.approx(float(expected))


def test_no_question_about_curvature_takes_settings_by_any_name():
    landscape = Path(kdl.__file__).parent / "landscape"
    for path in [*(landscape / "curvature").glob("*.py"), *(landscape / "sharpness").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert node.args.kwarg is None, f"{path.name}: {node.name}"


def test_a_matrix_that_is_zero_has_a_density_around_zero():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x):
            return x @ self.w

    data = (torch.ones(5, 3, dtype=torch.float64), torch.zeros(5, dtype=torch.float64))
    h = kdl.hessian(Objective(Constant(), lambda z, y: z - y, data), torch.ones(3, dtype=torch.float64))
    for method in ("slq", "kpm"):
        found = h.spectral_density(method=method, num_matvecs=20, num_draws=2)
        assert float(found["density"].integrate("grid")) == pytest.approx(1.0, abs=1e-2)
        assert abs(float((found["density"] * found["grid"]).integrate("grid"))) < 1e-6
    assert float(h.trace()["trace"]) == 0
    assert float(h.top_eigenpairs(1)["eigenvalues"][0]) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_is_asked_in_single_precision_at_its_own_weights(dtype):
    module, loss, data = CASES[IDS.index("tanh")].make(dtype=dtype)
    exact = nn.Sequential(*module).double()  # the same weights
    matrix = dense.hessian(exact, loss, (data[0].double(), data[1]), dense.theta_of(exact))
    module.to(dtype)
    h = kdl.hessian(Objective(module, loss, data), module)
    assert h.facts["dtype"] == "float32"
    found = h.top_eigenpairs(2)["eigenvalues"]
    np.testing.assert_allclose(found, torch.linalg.eigvalsh(matrix).flip(0)[:2], rtol=1e-4)
    spanned = h.trace(rtol=0, max_matvecs=2 * h.dim)
    assert float(spanned["trace"]) == pytest.approx(float(matrix.trace()), rel=1e-4)
    diagonal = h.diagonal(max_matvecs=200)
    assert abs(diagonal["diagonal"] - matrix.diagonal().numpy()).max() < 6 * diagonal["diagonal_sem"].max()
    assert float(h.spectral_density(num_matvecs=10)["density"].integrate("grid")) == pytest.approx(1.0, abs=1e-6)
