import pytest
import torch

from kdlandscape.linalg.trace.hutchinson import diagonal, hutchinson
from kdlandscape.linalg.trace.hutchpp import hutchpp
from kdlandscape.linalg.trace.xnystrace import xnystrace
from kdlandscape.linalg.trace.xtrace import xtrace
from tests.linalg.prescribed import DEEP, DEVICES, SCALES, SPECTRA, Operator, binomial_floor, rng, symmetric

ESTIMATORS = [hutchinson, hutchpp, xtrace, xnystrace]
SPREAD = {
    "deep": DEEP + [0.5 * (i / 190) ** 6 for i in range(190)],
    "decaying": [100 / (i + 1) ** 2 for i in range(200)],
    "flat": torch.linspace(0.5, 1.5, 200).tolist(),
    "indefinite": SPECTRA["indefinite"] * 2,
}


def run(estimator, matrix, products, seed=0, **options):
    operator = Operator(matrix)
    like = torch.empty(len(matrix), dtype=matrix.dtype, device=matrix.device)
    found = estimator(operator, like, products, generator=rng(seed), **options)
    assert found.num_matvecs == operator.products <= products
    return found


@pytest.mark.parametrize(
    ("name", "estimator"),
    [(name, e) for name in SPREAD for e in ESTIMATORS if name != "indefinite" or e is not xnystrace],
)
def test_the_truth_lies_within_two_standard_errors_as_often_as_it_should(name, estimator):
    matrix = symmetric(SPREAD[name])
    found = [run(estimator, matrix, 60, seed) for seed in range(100)]
    error = torch.stack([f.value for f in found]) - matrix.trace()
    sem = torch.stack([f.sem for f in found])
    hits = int((error.abs() <= 2 * sem).sum())
    assert hits >= binomial_floor(100, 0.92)  # 20 to 60 draws, t-distributed with a heavier tail
    ratio = float(error.square().mean().sqrt() / sem.square().mean().sqrt())
    assert 0.75 <= ratio <= 1.3
    assert float(error.mean().abs()) <= 4 * float(error.std()) / 10, "unbiased"


@pytest.mark.parametrize("estimator", [xtrace, xnystrace])
@pytest.mark.parametrize("name", ["decaying", "flat"])
def test_the_error_counts_the_covariance_of_the_draws(name, estimator):
    matrix = symmetric(SPREAD[name][:100])
    found = [run(estimator, matrix, 40, seed) for seed in range(300)]
    error = torch.stack([f.value for f in found]) - matrix.trace()
    ratio = float(error.norm() / torch.stack([f.sem for f in found]).norm())
    assert 0.85 <= ratio <= 1.15  # the published error s / √k of XTrace gives 1.31 and 1.21


def test_xtrace_reaches_one_percent_in_forty_products_where_hutchinson_does_not():
    matrix = symmetric(SPREAD["deep"])

    def error(estimator):
        found = torch.stack([run(estimator, matrix, 40, seed).value for seed in range(60)])
        return float((found / matrix.trace() - 1).square().mean().sqrt())

    assert error(xtrace) <= 0.01
    assert error(xnystrace) <= 0.01
    assert error(hutchpp) <= 0.02
    assert error(hutchinson) >= 0.03


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_stops_on_the_standard_error_asked_for_and_the_error_is_of_that_size(estimator):
    matrix = symmetric(SPREAD["decaying"])
    found = [run(estimator, matrix, 20000, seed, rtol=0.02) for seed in range(30)]
    for f in found:
        assert f.converged
        assert f.sem <= 0.02 * f.value
        assert f.num_draws >= 10
    error = torch.stack([f.value for f in found]) / matrix.trace() - 1
    assert float(error.square().mean().sqrt()) <= 0.03


@pytest.mark.parametrize("estimator", [*ESTIMATORS, diagonal])
def test_an_error_out_of_reach_spends_the_products_and_says_so(estimator):
    found = run(estimator, symmetric(SPREAD["flat"]), 33, rtol=1e-9)
    assert not found.converged
    assert found.num_matvecs > 33 - 3


@pytest.mark.parametrize("estimator", [hutchpp, xtrace, xnystrace])
@pytest.mark.parametrize("name", ["rank-deficient", "zero", "two", "one", "identity", "projector"])
def test_a_sketch_that_spans_the_range_gives_the_trace_exactly(name, estimator):
    matrix = symmetric(SPECTRA[name])
    found = run(estimator, matrix, 48)
    scale = max(map(abs, SPECTRA[name]))
    assert float(found.value) == pytest.approx(sum(SPECTRA[name]), abs=1e-11 * scale)
    assert float(found.sem) <= 1e-11 * scale


@pytest.mark.parametrize("products", [4, 6, 8, 9, 11, 12])
def test_every_small_budget_gives_a_finite_error(products):
    for name in ("rank-deficient", "deep net", "two", "one"):
        for estimator in ESTIMATORS:
            if estimator is hutchpp and products < 6:
                continue
            if estimator is xnystrace and name == "deep net":  # has negative eigenvalues
                continue
            found = run(estimator, symmetric(SPECTRA[name]), products)
            assert found.value.isfinite()
            assert found.sem.isfinite()


@pytest.mark.parametrize("estimator", [*ESTIMATORS, diagonal])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("device", DEVICES)
def test_scaling_the_operator_scales_the_estimate_and_keeps_the_products(estimator, dtype, device):
    matrix = symmetric(SPREAD["decaying"], dtype=dtype, device=device)
    found = [run(estimator, scale * matrix, 200, rtol=0.1) for scale in SCALES]
    for f, scale in zip(found, SCALES, strict=True):
        assert f.value.dtype == dtype
        assert f.value.device.type == device
        assert f.num_matvecs == found[1].num_matvecs
        torch.testing.assert_close(f.value / scale, found[1].value, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(f.sem / scale, found[1].sem, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("count", [3, 17])
def test_xnystrace_is_the_mean_over_nystrom_approximations_that_leave_one_out(count):
    matrix = symmetric(SPREAD["decaying"])
    n, generator = len(matrix), rng(7)
    blocks = [min(5, count - start) for start in range(0, count, 5)]
    omega = torch.cat([torch.randn(size, n, generator=generator, dtype=matrix.dtype) for size in blocks])
    ones = []
    for i in range(count):
        rest = torch.cat([omega[:i], omega[i + 1 :]])
        images = rest @ matrix
        short = matrix - images.T @ torch.linalg.solve(rest @ images.T, images)
        outside = omega[i] - torch.linalg.lstsq(rest.T, omega[i]).solution @ rest
        form = omega[i] @ short @ omega[i] / outside.square().sum()
        ones.append((matrix - short).trace() + (n - count + 1) * form)
    torch.testing.assert_close(run(xnystrace, matrix, count, seed=7).value, torch.stack(ones).mean(), rtol=1e-9, atol=0)


def test_the_diagonal_lies_within_two_standard_errors_as_often_as_it_should():
    matrix = symmetric(SPREAD["deep"])
    inside = [
        (found.value - matrix.diagonal()).abs() <= 2 * found.sem
        for found in (run(diagonal, matrix, 50, seed) for seed in range(50))
    ]
    assert 0.92 <= float(torch.stack(inside).double().mean()) <= 0.97


def test_blocks_give_the_mean_and_error_of_all_draws():
    matrix = symmetric(SPREAD["flat"])
    for estimator in (hutchinson, diagonal):
        whole, blocks = (run(estimator, matrix, 40, block_size=size) for size in (40, 8))
        torch.testing.assert_close(whole.value, blocks.value)
        torch.testing.assert_close(whole.sem, blocks.sem)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(xtrace, torch.eye(3), 3), r"max_matvecs >= 4 and block_size >= 1, got 3 and 5"),
        (lambda: run(hutchpp, torch.eye(3), 5), r"max_matvecs >= 6"),
        (lambda: run(hutchinson, torch.eye(3), 9, block_size=0), r"got 9 and 0"),
        (
            lambda: hutchinson(Operator(torch.eye(3)), torch.ones(1, 3), 9, generator=rng()),
            r"floating vector \(n,\), got torch.float32 \(1, 3\)",
        ),
        (
            lambda: xtrace(lambda x: x[:, :1], torch.ones(3), 9, generator=rng()),
            r"keep the shape \(4, 3\), got \(4, 1\)",
        ),
        (lambda: run(xnystrace, symmetric(SPREAD["indefinite"]), 60), r"positive semidefinite.*use xtrace"),
        (lambda: diagonal(lambda x: x / 0, torch.ones(3), 9, generator=rng()), r"finite values, got inf or nan"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
