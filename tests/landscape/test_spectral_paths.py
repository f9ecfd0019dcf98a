import numpy as np
import pytest
import torch
import xarray as xr

import kdlandscape as kdl
from kdlandscape.cubes.schema import check
from kdlandscape.cubes.spectra import density
from kdlandscape.landscape.objective import Objective
from tests import dense
from tests.cases import CASES, IDS


def made(name="mlp"):
    module, loss, data = CASES[IDS.index(name)].make()
    return module, loss, data, Objective(module, loss, data), dense.theta_of(module)


def test_the_spectrum_along_a_path_is_that_of_the_dense_matrix_at_every_point():
    module, loss, data, objective, theta = made()
    t = [0.0, 1 / 3, 2 / 3, 1.0]
    curvatures = (kdl.hessian(objective, (1 + 0.5 * at) * theta) for at in t)
    path = kdl.spectrum_along(curvatures, t, 3, z=[0.1, 1.0], num_matvecs=20, num_draws=6)
    check(path)
    for t in path["t"].values:
        true = torch.linalg.eigvalsh(dense.hessian(module, loss, data, (1 + 0.5 * t) * theta)).flip(0)
        np.testing.assert_allclose(path["eigenvalues"].sel(t=t), true[:3], atol=1e-6)
        scaled = 23 * true.clamp(min=0)
        here = path.sel(t=t, z=0.1)
        gap = here["effective_dimension"] - float((scaled / (scaled + 0.1)).sum())
        assert abs(gap) < 4 * here["effective_dimension_sem"] + here["effective_dimension_truncation"]
    assert path["nodes"].dims == ("t", "draw", "node")
    assert path["converged"].all()
    np.testing.assert_allclose(density(path)["density"].integrate("grid"), 1.0, atol=1e-6)


def test_a_warm_sweep_takes_fewer_products_than_a_cold_one_and_finds_the_same():
    _, _, _, objective, theta = made("cnn_group_norm")
    curvatures = [kdl.hessian(objective, theta * (1 + 0.02 * i)) for i in range(6)]
    warm, cold = (
        kdl.spectrum_along(curvatures, range(6), 3, dim="step", warm=flag, vectors=flag, stop="value")
        for flag in (True, False)
    )
    np.testing.assert_allclose(warm["eigenvalues"], cold["eigenvalues"], rtol=1e-5)
    assert int(warm["num_matvecs"].sum()) < 0.9 * int(cold["num_matvecs"].sum())
    assert warm["eigenvectors"].dims == ("step", "eigenvalue", "dim")
    assert "eigenvectors" not in cold


def spectrum(rows):
    return xr.Dataset(
        {"eigenvectors": (("eigenvalue", "dim"), np.asarray(rows, dtype=float))},
        coords={"eigenvalue": range(len(rows)), "dim": range(len(rows[0]))},
    )


def test_the_overlap_of_eigenspaces_ignores_signs_and_rotations_and_lies_in_zero_to_one():
    first = spectrum([[1, 0, 0, 0], [0, 1, 0, 0]])
    c, s = np.cos(0.3), np.sin(0.3)
    turned = spectrum([[c, s, 0, 0], [s, -c, 0, 0]])
    overlap = kdl.eigenspace_overlap(first, turned)
    check(overlap)
    np.testing.assert_allclose(overlap["overlap"], [c**2, 1.0])
    np.testing.assert_allclose(kdl.eigenspace_overlap(first, spectrum([[0, 0, 1, 0], [0, 0, 0, 1]]))["overlap"], [0, 0])


def test_overlap_refuses_what_are_no_eigenvectors_of_one_space():
    first = spectrum([[1, 0, 0]])
    with pytest.raises(ValueError, match="the second spectrum has no eigenvectors"):
        kdl.eigenspace_overlap(first, xr.Dataset())
    with pytest.raises(ValueError, match=r"one space, got shapes \(1, 3\) and \(1, 2\)"):
        kdl.eigenspace_overlap(first, spectrum([[1, 0]]))
    with pytest.raises(ValueError, match="orthonormal"):
        kdl.eigenspace_overlap(first, spectrum([[1, 1, 0]]))


def test_a_step_along_a_top_eigenvector_changes_predictions_more_than_along_a_flat_one():
    *_, objective, theta = made("tanh")
    found = kdl.ggn(objective, theta).top_eigenpairs(6, which="both", vectors=True)
    moved = kdl.perturb(objective, theta, found, [-0.5, 0.0, 0.5])
    check(moved)
    kl = moved["kl"].sel(x=0.5)
    assert float(kl[0]) > 20 * abs(float(kl[-1]))
    np.testing.assert_allclose(moved["kl"].sel(x=0.0), 0.0, atol=1e-15)
    assert (moved["agreement"].sel(x=0.0) == 1).all()
    np.testing.assert_allclose(moved["loss"].sel(x=0.0), float(objective.value(theta)))
    vector = torch.tensor(found["eigenvectors"].values[0])
    assert float(moved["loss"].sel(x=-0.5)[0]) == pytest.approx(float(objective.value(theta - 0.5 * vector)))


def test_a_block_is_perturbed_in_its_own_places():
    *_, objective, theta = made()
    found = kdl.hessian(objective, theta, params="2.*").top_eigenpairs(1, vectors=True)
    whole = torch.zeros_like(theta)
    whole[torch.tensor(found["dim"].values)] = torch.tensor(found["eigenvectors"].values[0])
    moved = kdl.perturb(objective, theta, found, [0.3])
    assert float(moved["loss"].squeeze()) == pytest.approx(float(objective.value(theta + 0.3 * whole)))


def test_perturbations_refuse_spectra_without_vectors_and_outputs_that_are_no_logits():
    *_, objective, theta = made()
    with pytest.raises(ValueError, match="vectors=True"):
        kdl.perturb(objective, theta, kdl.hessian(objective, theta).top_eigenpairs(1), [0.1])
    module = torch.nn.Linear(4, 1).double()
    _, _, data = CASES[IDS.index("regression")].make()
    one = Objective(module, torch.nn.MSELoss(), (data[0], data[1][:, :1]))
    with pytest.raises(ValueError, match=r"logits \(n, C\)"):
        kdl.perturb(one, module, kdl.hessian(one, module).top_eigenpairs(1, vectors=True), [0.1])
