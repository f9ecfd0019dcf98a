import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlandscape.linalg.lanczos.ritz import Eigenpairs
from kdlandscape.linalg.lanczos.thick_restart import top_eigenpairs
from tests.linalg.prescribed import DEEP, DEVICES, SCALES, SPECTRA, Operator, normal, rng, symmetric

DTYPES = [torch.float64, torch.float32]
WHICH = ["largest", "smallest", "both", "magnitude"]


def wanted(eigenvalues: list[float], k: int, which: str) -> list[float]:
    up = sorted(eigenvalues)
    if which == "both":
        return [*up[::-1][: k - k // 2], *up[: k // 2][::-1]]
    return {
        "largest": up[::-1][:k],
        "smallest": up[:k],
        "magnitude": sorted(map(abs, up), reverse=True)[:k],  # of ± pairs either may come first
    }[which]


def solve(eigenvalues: list[float], k: int, *, b: int = 1, seed: int = 0, scale: float = 1.0, **options: object):
    dtype, device = options.pop("dtype", torch.float64), options.pop("device", "cpu")
    operator = Operator(scale * symmetric(eigenvalues, seed, dtype=dtype, device=device))
    start = normal(b, len(eigenvalues), seed, dtype=dtype, device=device)
    pairs = top_eigenpairs(operator, start, k, generator=rng(seed + 500), **options)
    assert pairs.num_matvecs == operator.products
    return pairs, operator.matrix


def check_honest(pairs: Eigenpairs, matrix: Tensor) -> None:
    """Residuals are true, vectors orthonormal, each value within its residual of an eigenvalue."""
    values, vectors, matrix = pairs.values.double(), pairs.vectors.double(), matrix.double()
    eps = torch.finfo(pairs.vectors.dtype).eps
    scale = float(torch.linalg.eigvalsh(matrix).abs().max())
    residuals = (vectors @ matrix - values[:, None] * vectors).norm(dim=1)
    torch.testing.assert_close(pairs.residuals.double(), residuals, atol=50 * eps * scale, rtol=1e-2)
    gram = vectors @ vectors.T
    torch.testing.assert_close(gram, torch.eye(len(gram)).to(gram), atol=200 * eps, rtol=0)
    distance = (torch.linalg.eigvalsh(matrix)[:, None] - values).abs().min(dim=0).values
    assert (distance <= pairs.residuals.double() + 50 * eps * scale).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("name", SPECTRA)
def test_extreme_eigenpairs_of_a_prescribed_spectrum_are_found(name, which, dtype, device):
    eigenvalues = SPECTRA[name]
    k = min(5, len(eigenvalues))
    tol = 1e-8 if dtype == torch.float64 else 1e-5
    pairs, matrix = solve(
        eigenvalues, k, b=3, which=which, dtype=dtype, device=device, tol=tol, max_matvecs=1500, miss_probability=1e-4
    )
    scale = max(map(abs, eigenvalues))
    expected = np.linalg.eigvalsh(matrix.double().cpu().numpy()).tolist()
    assert pairs.converged.all()
    assert pairs.values.dtype == dtype
    assert pairs.values.device.type == device
    values = pairs.values.double().cpu().abs() if which == "magnitude" else pairs.values.double().cpu()
    np.testing.assert_allclose(values, wanted(expected, k, which), rtol=0, atol=tol * scale)
    check_honest(pairs, matrix)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["deep net", "rank-deficient", "multiple", "zero"])
def test_scaling_the_operator_scales_the_pairs_and_keeps_the_number_of_products(name, dtype):
    found = [solve(SPECTRA[name], 4, b=2, scale=scale, dtype=dtype)[0] for scale in SCALES]
    for pairs, scale in zip(found, SCALES, strict=True):
        assert pairs.num_matvecs == found[1].num_matvecs
        torch.testing.assert_close(pairs.values / scale, found[1].values, atol=2e-5, rtol=1e-5)
        assert (pairs.converged == found[1].converged).all()


def test_the_top_five_of_a_deep_net_take_at_most_seventeen_products():
    eigenvalues = DEEP + [0.5 * (i / 790) ** 6 - 0.01 for i in range(790)]
    pairs, matrix = solve(eigenvalues, 5)
    assert pairs.num_matvecs <= 17
    assert pairs.converged.all()
    torch.testing.assert_close(pairs.values.cpu(), torch.tensor(DEEP[:5], dtype=torch.float64), rtol=1e-10, atol=0)
    check_honest(pairs, matrix)


def test_stopping_on_the_values_takes_fewer_products_and_its_errors_hold():
    by_residual, _ = solve(SPECTRA["deep net"], 5)
    by_value, _ = solve(SPECTRA["deep net"], 5, stop="value")
    assert by_value.num_matvecs <= by_residual.num_matvecs - 1
    error = (by_value.values - torch.tensor(DEEP[:5], dtype=torch.float64)).abs()
    assert (error <= by_value.errors + 1e-13).all()
    assert error.max() <= 1e-6 * DEEP[0]


@pytest.mark.parametrize("which", ["largest", "both", "magnitude"])
def test_a_small_basis_restarts_and_still_converges(which):
    pairs, matrix = solve(SPECTRA["indefinite"], 4, which=which, basis_size=12, tol=1e-9)
    assert pairs.converged.all()
    expected = torch.tensor(wanted(SPECTRA["indefinite"], 4, which), dtype=torch.float64)
    values = pairs.values.abs() if which == "magnitude" else pairs.values
    torch.testing.assert_close(values, expected, atol=1e-8, rtol=0)
    check_honest(pairs, matrix)


def test_values_are_not_duplicated_when_run_past_the_rank():
    pairs, _ = solve(SPECTRA["rank-deficient"], 8)
    torch.testing.assert_close(pairs.values, torch.tensor([4.0, 2, 1, 0, 0, 0, 0, 0]).double(), atol=1e-12, rtol=0)


def test_no_more_products_than_dimensions_are_taken_for_the_whole_spectrum():
    pairs, matrix = solve(SPECTRA["indefinite"], len(SPECTRA["indefinite"]), tol=1e-9)
    assert pairs.num_matvecs == len(SPECTRA["indefinite"])
    assert pairs.miss_probability == 0.0
    torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(matrix).flip(0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("k", [2, 4])
def test_one_start_vector_finds_a_multiple_eigenvalue_where_its_space_closes(k):
    pairs, _ = solve([7.0, 7.0, 7.0, 2.0] + [0.0] * 40, k)
    torch.testing.assert_close(pairs.values, torch.tensor([7.0, 7, 7, 2][:k]).double(), atol=1e-12, rtol=0)
    assert pairs.miss_probability <= 1e-3


def test_a_block_of_b_rows_finds_b_copies_where_one_row_finds_one():
    spectrum = [5.0, 5.0, 5.0, 3.0, *torch.linspace(-1, 1, 200).tolist()]
    block, _ = solve(spectrum, 3, b=3)
    single, _ = solve(spectrum, 2)
    torch.testing.assert_close(block.values, torch.tensor([5.0, 5, 5]).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(single.values, torch.tensor([5.0, 3]).double(), atol=1e-9, rtol=0)
    assert single.miss_probability == 1.0, "nobody looked, and the result says so"


def test_a_probe_finds_the_copies_that_a_single_row_misses():
    spectrum = [5.0, 5.0, 5.0, 3.0, *torch.linspace(-1, 1, 200).tolist()]
    for seed in range(5):
        pairs, _ = solve(spectrum, 3, seed=seed, miss_probability=1e-3)
        torch.testing.assert_close(pairs.values, torch.tensor([5.0, 5, 5]).double(), atol=1e-8, rtol=0)
        assert pairs.miss_probability <= 1e-3
        assert pairs.num_matvecs <= 60


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_a_probe_finds_an_eigenvalue_that_the_start_does_not_see(which):
    spectrum = [-9.0 if which == "smallest" else 9.0, 5.0, 3.0, -5.0, -4.0, *torch.linspace(-1, 1, 95).tolist()]
    matrix = symmetric(spectrum)
    hidden = torch.linalg.eigh(matrix)[1].T[0 if which == "smallest" else -1]
    start = normal(1, 100)
    start = start - (start @ hidden)[:, None] * hidden
    for _ in range(2):  # orthogonal to rounding, so the plain run sees nothing
        start = start - (start @ hidden)[:, None] * hidden
    plain = top_eigenpairs(Operator(matrix), start, 1, which=which, tol=1e-5)
    probed = top_eigenpairs(Operator(matrix), start, 1, which=which, tol=1e-5, miss_probability=1e-3, generator=rng(5))
    assert abs(plain.values[0]) < 6
    torch.testing.assert_close(probed.values.abs(), torch.tensor([9.0]).double(), atol=1e-6, rtol=0)
    assert probed.num_matvecs - plain.num_matvecs <= 50


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", WHICH)
def test_a_search_goes_on_from_known_pairs_for_few_products_more(which, dtype):
    tol = 1e-8 if dtype == torch.float64 else 1e-5
    matrix = symmetric(SPECTRA["deep net"], dtype=dtype)
    start = normal(1, 120, dtype=dtype)
    few, alone = (top_eigenpairs(Operator(matrix), start, k, which=which, tol=tol) for k in (3, 5))
    more = top_eigenpairs(Operator(matrix), start, 5, which=which, tol=tol, known=few.space)
    torch.testing.assert_close(more.values, alone.values, rtol=0, atol=10 * tol)
    check_honest(more, matrix)
    assert few.num_matvecs + more.num_matvecs <= alone.num_matvecs + 8
    again = top_eigenpairs(Operator(matrix), start, 3, which=which, tol=tol, known=few.space)
    assert again.num_matvecs == 1


def test_a_search_goes_on_where_the_space_was_closed():
    matrix = symmetric([7.0, 7.0, 7.0, 2.0] + [0.0] * 40)
    few = top_eigenpairs(Operator(matrix), normal(1, 44), 2, generator=rng(1))
    more = top_eigenpairs(Operator(matrix), normal(1, 44), 5, generator=rng(2), known=few.space)
    torch.testing.assert_close(more.values, torch.tensor([7.0, 7, 7, 2, 0]).double(), atol=1e-12, rtol=0)


def test_pairs_that_ran_out_of_products_say_so():
    pairs, matrix = solve(SPECTRA["clustered"], 4, max_matvecs=10)
    assert pairs.num_matvecs == 10
    assert not pairs.converged.all()
    assert (pairs.residuals[~pairs.converged] > 1e-6).all()
    check_honest(pairs, matrix)


def test_the_same_generator_gives_the_same_pairs():
    first, second = (solve(SPECTRA["projector"], 5)[0] for _ in range(2))
    for field in dataclasses.fields(Eigenpairs):
        one, other = getattr(first, field.name), getattr(second, field.name)
        for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (one, other)), strict=True):
            assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_dependent_start_rows_are_dropped_without_a_product():
    matrix = symmetric(SPECTRA["deep net"])
    row = normal(1, 120)
    once, thrice = (top_eigenpairs(Operator(matrix), s, 5) for s in (row, torch.cat([row, -2 * row, 0 * row])))
    assert thrice.num_matvecs == once.num_matvecs
    torch.testing.assert_close(once.values, thrice.values)


def ask(start: Tensor, k: int = 2, matvec: object = None, **options: object) -> object:
    return lambda: top_eigenpairs(matvec or Operator(torch.eye(4).double()), start, k, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (ask(normal(1, 4), 5), r"1 <= k <= n = 4, got k = 5: ask for at most n"),
        (ask(normal(1, 4), 0), r"got k = 0"),
        (ask(normal(1, 4)[0]), r"\(b, n\) block of rows, got torch.float64 \(4,\)"),
        (ask(torch.ones(1, 4, dtype=torch.long)), r"floating .* got torch.int64"),
        (ask(torch.zeros(2, 4)), r"a row that is not zero, got rows of norm \[0.0, 0.0\]"),
        (ask(torch.full((1, 4), torch.nan)), r"start must be finite"),
        (ask(normal(1, 4), which="top"), r"which must be one of largest, .* got 'top'"),
        (ask(normal(1, 4), stop="never"), r"stop must be one of residual, value, got 'never'"),
        (ask(normal(1, 4), matvec=lambda rows: rows[:, :2]), r"keep the shape \(1, 4\), got \(1, 2\)"),
        (ask(normal(1, 4), matvec=lambda rows: rows * torch.inf), r"finite values, got inf or nan"),
        (ask(normal(2, 4), matvec=lambda rows: rows @ normal(4, 4, 3)), r"must be symmetric, got u'Av and v'Au"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()
