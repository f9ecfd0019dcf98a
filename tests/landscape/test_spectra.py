import pytest
import torch

from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.spectra import top_eigenpairs
from tests import dense
from tests.cases import CASES, IDS


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_top_eigenvalues_equal_those_of_the_dense_hessian(case):
    module, loss, data = case.make()
    objective = Objective(module, loss, data, batch_size=7)
    theta = dense.theta_of(module) * 1.1
    expected = torch.linalg.eigvalsh(dense.hessian(module, loss, data, theta)).flip(0)[:3]
    spectrum = top_eigenpairs(objective, theta, 3, tol=1e-9)
    torch.testing.assert_close(torch.as_tensor(spectrum["eigenvalues"].values), expected, rtol=1e-8, atol=1e-10)
    assert spectrum["converged"].all()


def test_eigenvectors_come_on_request_and_satisfy_their_equation():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    spectrum = top_eigenpairs(objective, module, 2, tol=1e-8, vectors=True)
    vectors = torch.as_tensor(spectrum["eigenvectors"].values)
    values = torch.as_tensor(spectrum["eigenvalues"].values)
    residual = objective.hvp(module, vectors) - values[:, None] * vectors
    assert residual.norm(dim=1).max() <= 1e-7 * values[0]
    assert spectrum["eigenvectors"].dims == ("eigenvalue", "dim")
    assert spectrum.attrs["num_products"] > 0


def test_more_eigenpairs_than_dimensions_are_refused():
    module, loss, data = CASES[0].make()
    with pytest.raises(ValueError, match="74"):
        top_eigenpairs(Objective(module, loss, data), module, 74)
