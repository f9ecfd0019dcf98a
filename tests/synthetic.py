"""A small cube of the shape the demo study leaves, with numbers known in advance."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset

INIT_LAMBDA = [0.0, 0.25, 0.5, 1.0]


def demo_cube(seeds: int = 4) -> xr.Dataset:
    """Barrier gone and distance shrinking from λ = 0.5 on, in every seed; seed s adds s/10 to the barrier at 0."""
    share = np.array(INIT_LAMBDA)
    shape = (seeds, 2, len(share))
    barrier = np.broadcast_to(np.array([3.0, 1.0, 0.001, 0.0]), shape).copy()
    barrier[..., 0] += np.arange(seeds)[:, None] / 10
    start = np.broadcast_to(10 * (1 - share), shape)
    end = start * np.array([1.5, 1.2, 0.5, 0.0])
    x = np.linspace(-0.5, 1.5, 9)
    bowl = (x[None, :] ** 2 + x[:, None] ** 2) + 0.0
    at = np.array([[0.0, 0.0], [0.6, 0.5], [1.0, 0.0]])  # teacher, init, student at λ = 0
    points = (1 - share)[:, None, None] * at
    outer = ("seed", "lr_policy")
    agreement = np.broadcast_to(0.7 + 0.3 * share, (seeds, 2, 2, 4))
    ds = dataset(
        {
            "barrier": ((*outer, "init_lambda"), barrier),
            "distance_start": ((*outer, "init_lambda"), start),
            "distance_end": ((*outer, "init_lambda"), end),
            "distance_travelled": ((*outer, "init_lambda"), 0.8 * start),
            "agreement": ((*outer, "split", "init_lambda"), agreement),
            "control_agreement": ((*outer, "split", "init_lambda"), np.full_like(agreement, 0.6)),
            "student_eigenvalues": ((*outer, "init_lambda", "eigenvalue"), np.broadcast_to([20.0, 10.0], (*shape, 2))),
            "teacher_eigenvalues": ((*outer, "eigenvalue"), np.broadcast_to([25.0, 12.0], (seeds, 2, 2))),
            "plane_loss": ((*outer, "init_lambda", "y", "x"), np.broadcast_to(bowl, (*shape, 9, 9))),
            "plane_points": ((*outer, "init_lambda", "point", "axis"), np.broadcast_to(points, (*shape, 3, 2))),
        },
        coords={
            "seed": range(seeds),
            "lr_policy": ["constant", "scaled"],
            "init_lambda": INIT_LAMBDA,
            "split": ["train", "test"],
            "eigenvalue": [0, 1],
            "x": x,
            "y": x,
            "point": ["teacher", "init", "student"],
            "axis": ["x", "y"],
        },
    )
    return ds.assign(done=(outer, np.ones((seeds, 2), bool)))


def basins_cube(seeds: int = 3) -> xr.Dataset:
    """Barriers 1 (student) and 2 (independent); weights remove 0.7, 0.8, 0.9 of the first, 0.1 less of the second."""
    removed = 0.7 + np.arange(seeds)[:, None] / 10 - np.array([0.0, 0.0, 0.1])  # seed, partner
    height = np.array([1.0, 0.0, 2.0])
    left = np.stack([np.ones_like(removed), 1 - removed, 1 - removed], -1) * height[:, None]  # seed, partner, alignment
    barrier = np.stack([left, left / 2], -1)[:, None]  # seed, network, partner, alignment, correction
    path = barrier[..., None] * np.array([0.0, 1.0, 0.0])
    outer = ("seed", "network", "partner")
    return dataset(
        {
            "barrier": ((*outer, "alignment", "correction"), barrier),
            "path_kl": ((*outer, "alignment", "correction", "t"), path),
            "bezier_barrier": (outer, barrier[..., 1, 1]),
        },
        coords={
            "seed": range(seeds),
            "network": ["mlp"],
            "partner": ["λ = 0", "λ = 0.5", "independent"],
            "alignment": ["none", "weights", "activations"],
            "correction": ["none", "repair"],
            "t": [0.0, 0.5, 1.0],
        },
    )
