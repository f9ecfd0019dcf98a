import pytest
import torch

from kdlandscape.linalg.slq import quadrature, tridiagonalize
from tests.linalg.prescribed import DEVICES, SCALES, SPECTRA, Operator, binomial_floor, means, normal, symmetric


def rules(name: str, m: int = 20, b: int = 6, *, scale: float = 1.0, dtype=torch.float64, device="cpu", seed=0):
    operator = Operator(scale * symmetric(SPECTRA[name], dtype=dtype, device=device))
    start = normal(b, len(SPECTRA[name]), seed, dtype=dtype, device=device)
    made = tridiagonalize(operator, start, m)
    assert made.num_matvecs == operator.products == int(made.length.sum())
    return made, operator.matrix, start


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_basis_is_orthonormal_and_projects_the_operator_to_t(name, dtype, device):
    made, matrix, _ = rules(name, m=30, dtype=dtype, device=device)
    eps, scale = torch.finfo(dtype).eps, max(map(abs, SPECTRA[name]))
    for row in range(6):
        m = int(made.length[row])
        basis = made.basis[row, :m]
        side = made.beta[row, : m - 1]
        t = torch.diag(made.alpha[row, :m]) + torch.diag(side, 1) + torch.diag(side, -1)
        torch.testing.assert_close(basis @ basis.T, torch.eye(m).to(basis), atol=100 * eps, rtol=0)
        torch.testing.assert_close(basis @ matrix @ basis.T, t, atol=200 * eps * scale, rtol=0)
        assert made.alpha[row, m:].isnan().all()
        assert made.beta[row, max(m - 1, 0) :].isnan().all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["rank-deficient", "projector", "identity", "zero", "two", "one"])
def test_a_row_stops_where_its_space_closes_and_gives_no_spurious_node(name, scale):
    made, _, _ = rules(name, m=25, scale=scale)
    distinct = torch.tensor(sorted(set(SPECTRA[name])), dtype=torch.float64) * scale
    assert set(made.length.tolist()) <= {len(distinct), len(distinct) + 1}, "one step more where rounding hides the end"
    nodes, weights = quadrature(made.alpha, made.beta, made.length)
    for row, mass, length in zip(nodes, weights, made.length, strict=True):
        away = (row[mass > 1e-18, None] - distinct).abs().min(dim=1).values
        assert away.max() <= 1e-12 * scale, "a node that carries weight is an eigenvalue"
        assert row[length:].isnan().all()
        assert (mass[length:] == 0).all()
        slack = 1e-13 * float(distinct.abs().max())
        assert row[:length].min() >= distinct[0] - slack
        assert row[:length].max() <= distinct[-1] + slack


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SPECTRA)
def test_weights_are_real_and_sum_to_one(name, dtype):
    made, _, _ = rules(name, dtype=dtype)
    nodes, weights = quadrature(made.alpha, made.beta)
    assert nodes.dtype == weights.dtype == dtype
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(6, dtype=dtype), atol=10 * torch.finfo(dtype).eps, rtol=0)


def test_rows_of_a_block_do_not_depend_on_each_other():
    made, matrix, start = rules("indefinite", m=12)
    alone = tridiagonalize(Operator(matrix), start[2:3], 12)
    torch.testing.assert_close(alone.alpha[0], made.alpha[2])
    torch.testing.assert_close(alone.beta[0], made.beta[2])


def test_a_rule_of_m_nodes_is_exact_up_to_degree_two_m_minus_one():
    made, matrix, start = rules("indefinite", m=4)
    found = torch.stack([means(*quadrature(made.alpha, made.beta), lambda x, p=p: x**p) for p in range(9)], dim=1)
    unit, power, exact = start / start.norm(dim=1, keepdim=True), start, []
    power = unit
    for _ in range(9):
        exact.append((unit * power).sum(1))
        power = power @ matrix
    exact = torch.stack(exact, dim=1)
    torch.testing.assert_close(found[:, :8], exact[:, :8], rtol=1e-11, atol=1e-9)
    assert (found[:, 8] - exact[:, 8]).abs().max() > 1e-3 * exact[:, 8].abs().max()


def test_spectral_means_lie_within_two_standard_errors_as_often_as_they_should():
    spectrum = torch.tensor(SPECTRA["deep net"]).double()
    functions = {"exp": lambda x: torch.exp(x / 5), "log": lambda x: torch.log(x + 1), "square": torch.square}
    for function in functions.values():
        error, sem = torch.zeros(60), torch.zeros(60)
        for seed in range(60):
            made, _, _ = rules("deep net", m=15, b=12, seed=seed)
            found = means(*quadrature(made.alpha, made.beta), function)
            error[seed], sem[seed] = found.mean() - function(spectrum).mean(), found.std() / 12**0.5
        assert int((error.abs() <= 2 * sem).sum()) >= binomial_floor(60, 0.92)  # 12 draws: P(|t_11| < 2) = 0.93
        assert 0.75 <= float(error.norm() / sem.norm()) <= 1.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tridiagonalize(Operator(torch.eye(3)), torch.ones(3), 2), r"\(b, n\) block of rows"),
        (lambda: tridiagonalize(Operator(torch.eye(3)), torch.ones(1, 3), 0), r"num_matvecs must be at least 1, got 0"),
        (lambda: tridiagonalize(Operator(torch.eye(3)), torch.zeros(1, 3), 2), r"not zero, got norms \[0.0\]"),
        (lambda: tridiagonalize(lambda x: x[:, :1], torch.ones(1, 3), 2), r"keep the shape \(1, 3\), got \(1, 1\)"),
        (lambda: tridiagonalize(lambda x: x / 0, torch.ones(1, 3), 2), r"finite values, got inf or nan"),
        (lambda: quadrature(torch.ones(1, 3), torch.ones(1, 3)), r"beta \(b, m - 1\), got \(1, 3\), \(1, 3\)"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
