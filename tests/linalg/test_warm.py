import pytest
import torch

from kdlandscape.linalg.lanczos.thick_restart import top_eigenpairs
from kdlandscape.linalg.warm import warm_start
from tests.linalg.prescribed import DEEP, Operator, normal, rng, symmetric

POINTS = [i / 10 for i in range(11)]
SPECTRUM = DEEP + [1.5 * 0.97**i * (-1 if i % 5 == 0 else 1) for i in range(290)]


def family(size: float) -> list[torch.Tensor]:
    noise = normal(300, 300, 7)
    slope = size * (noise + noise.T) / 2 / 300**0.5
    return [symmetric(SPECTRUM) + t * slope for t in POINTS]


def sweep(matrices: list[torch.Tensor], k: int, *, warm: bool) -> list[int]:
    found: list[torch.Tensor] = []
    products = []
    generator = rng(5)
    for i, matrix in enumerate(matrices):
        start = torch.randn(1, len(matrix), generator=generator, dtype=torch.float64)
        if warm and found:
            start = warm_start(found, POINTS[:i], POINTS[i], generator=generator)
        pairs = top_eigenpairs(Operator(matrix), start, k)
        true = torch.linalg.eigvalsh(matrix).flip(0)[:k]
        torch.testing.assert_close(pairs.values, true, rtol=0, atol=1e-8)
        found.append(pairs.vectors)
        products.append(pairs.num_matvecs)
    return products


@pytest.mark.parametrize(("k", "fraction"), [(5, 0.62), (10, 0.72)])
def test_a_warm_sweep_takes_a_fraction_of_the_products_of_cold_starts(k, fraction):
    matrices = family(0.1)
    cold, warm = (sum(sweep(matrices, k, warm=warm)) for warm in (False, True))
    assert warm <= fraction * cold


def test_the_start_is_the_sum_of_vectors_extrapolated_along_a_rotation():
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3]).double()
    vectors = [torch.tensor([[c, s, 0.0]]) for c, s in zip(angles.cos(), angles.sin(), strict=True)]
    start = warm_start(vectors[:3], angles[:3].tolist(), 0.3, generator=rng())
    held = warm_start(vectors[:3], angles[:3].tolist(), 0.3, generator=rng(), max_order=0)
    error, held_error = ((s / s.norm() - vectors[3]).norm() for s in (start, held))
    assert error < 0.1 * held_error


def test_signs_and_rotations_of_the_given_vectors_do_not_matter():
    first, second = (torch.linalg.qr(normal(20, 3, seed))[0].T for seed in (0, 1))
    turn = torch.linalg.qr(normal(3, 3, 2))[0]
    one = warm_start([first, second], [0.0, 1.0], 2.0, generator=rng())
    other = warm_start([turn @ first, second], [0.0, 1.0], 2.0, generator=rng())
    torch.testing.assert_close(one, other)


def test_an_eigenvalue_that_enters_from_outside_is_found_by_a_probe():
    matrices = []
    for t in POINTS[:4]:
        values = [5.0, 4.0, 3.0, *torch.linspace(-1, 1, 96).tolist(), 20 * t]  # crosses all three, uncoupled
        matrices.append(symmetric(values))
    found: list[torch.Tensor] = []
    generator = rng(1)
    for i, matrix in enumerate(matrices):
        start = warm_start(found, POINTS[:i], POINTS[i], generator=generator) if found else normal(1, 100)
        pairs = top_eigenpairs(Operator(matrix), start, 3, miss_probability=1e-3, generator=generator)
        torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(matrix).flip(0)[:3], rtol=0, atol=1e-8)
        found.append(pairs.vectors)


@pytest.mark.parametrize(("vectors", "points"), [([], []), ([torch.eye(3)], [0.0, 1.0])])
def test_vectors_without_their_points_are_refused(vectors, points):
    with pytest.raises(ValueError, match=rf"one point for each set of vectors, got {len(points)} and {len(vectors)}"):
        warm_start(vectors, points, 1.0, generator=rng())
