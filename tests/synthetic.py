"""A small cube of the shape the demo study leaves, with numbers known in advance."""

from itertools import combinations

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable

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
    unit = "teacher–random distance"
    over = (*outer, "init_lambda")
    ds = dataset(
        {
            "barrier": variable(over, barrier, "linear barrier to the teacher", "nat"),
            "distance_start": variable(over, start, "distance to the teacher before distillation"),
            "distance_end": variable(over, end, "distance to the teacher after distillation"),
            "distance_travelled": variable(over, 0.8 * start, "distance from the initial to the final student"),
            "agreement": variable((*outer, "split", "init_lambda"), agreement, "top-1 agreement with the teacher"),
            "control_agreement": variable(
                (*outer, "split", "init_lambda"), np.full_like(agreement, 0.6), "agreement of the independent student"
            ),
            "student_eigenvalues": variable(
                (*over, "eigenvalue"),
                np.broadcast_to([20.0, 10.0], (*shape, 2)),
                "Hessian eigenvalue at the student",
                "nat",
            ),
            "teacher_eigenvalues": variable(
                (*outer, "eigenvalue"),
                np.broadcast_to([25.0, 12.0], (seeds, 2, 2)),
                "Hessian eigenvalue at the teacher",
                "nat",
            ),
            "plane_loss": variable(
                (*over, "y", "x"),
                np.broadcast_to(bowl, (*shape, 9, 9)),
                "loss on the plane through teacher, initial and final student",
                "nat",
            ),
            "plane_points": variable(
                (*over, "point", "axis"), np.broadcast_to(points, (*shape, 3, 2)), "places on the plane", unit
            ),
        },
        coords={
            "seed": range(seeds),
            "lr_policy": variable("lr_policy", ["constant", "scaled"], "learning-rate policy"),
            "init_lambda": variable("init_lambda", INIT_LAMBDA, "teacher's share of the initial weights", symbol="λ"),
            "split": ["train", "test"],
            "eigenvalue": [0, 1],
            "x": variable("x", x, "from the teacher towards the final student", unit),
            "y": variable("y", x, "across, towards the initial student", unit),
            "point": ["teacher", "init", "student"],
            "axis": ["x", "y"],
        },
    )
    return ds.assign({"run.done": (outer, np.ones((seeds, 2), bool))})


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
            "barrier": variable(
                (*outer, "alignment", "correction"), barrier, "linear barrier of the KL(teacher ‖ network)", "nat"
            ),
            "path_kl": variable(
                (*outer, "alignment", "correction", "t"),
                path,
                "KL(teacher ‖ network) along the path from partner (t = 0) to teacher (t = 1)",
                "nat",
            ),
            "bezier_barrier": variable(outer, barrier[..., 1, 1], "barrier on a trained curve", "nat"),
        },
        coords={
            "seed": range(seeds),
            "network": ["mlp"],
            "partner": ["λ = 0", "λ = 0.5", "independent"],
            "alignment": ["none", "weights", "activations"],
            "correction": ["none", "repair"],
            "t": variable("t", [0.0, 0.5, 1.0], "place on the path, the teacher at 1", symbol="t"),
        },
    )


def compared_cube() -> xr.Dataset:
    """A comparison of a teacher, its student and a deeper network, between which and the others there is no path.

    The barrier of teacher and student is 1 nat, 0.2 permuted and 0.1 rescaled; they agree on 0.8, and the teacher and
    an independent network on 0.6.
    """
    t, x, names = np.linspace(0, 1, 11), np.linspace(-0.4, 1.4, 7), ["teacher", "student", "deep"]
    height = np.array([1.0, 0.2, 0.1])[:, None] * np.array([1.0, 1.1])  # alignment, split
    first = np.array([True, False, False])  # pairs with a path
    barrier = np.where(first[:, None, None], height, np.nan)
    path = 0.5 + barrier[..., None] * 4 * t * (1 - t)
    agreement = np.array([0.8, 0.5, 0.4])[:, None] - np.array([0.0, 0.1])
    nodes = np.linspace(0, 5, 6) + np.arange(3)[:, None, None] + np.zeros((3, 2, 6))
    aligned, pairs = ("pair", "alignment", "split"), ("pair", "split")
    z = np.array([0.01, 0.1, 1.0, 10.0])
    way = "along the path from the first (t = 0) to the second (t = 1)"
    numbers = {
        "agreement": variable(pairs, agreement, "top-1 agreement with the teacher"),
        "agreement_min": variable(pairs, agreement - 0.3, "least agreement that both accuracies allow"),
        "agreement_max": variable(pairs, agreement + 0.1, "greatest agreement that both accuracies allow"),
        "control_agreement": variable(pairs, np.full((3, 2), 0.6), "agreement of the independent student"),
        "top_k_overlap": variable((*pairs, "k"), agreement[..., None] + [0.0, 0.1], "share of the likeliest classes"),
        "barrier": variable(aligned, barrier, "linear barrier of the cross entropy", "nat"),
        "path_loss": variable((*aligned, "t"), path, f"cross entropy {way}", "nat"),
        "path_calibrated_loss": variable(
            (*aligned, "t"), 0.9 * path, f"cross entropy at the calibrated temperature {way}", "nat"
        ),
        "plane_loss": variable(
            ("y", "x"), 1 + x[:, None] ** 2 + x * (x - 1), "cross entropy on the plane through the networks", "nat"
        ),
        "plane_points": variable(
            ("point", "axis"), [[0, 0], [1, 0], [0.3, 0.6]], "coordinates of the networks on the plane"
        ),
        "plane_point_loss": variable("point", [1.0, 1.0, 1.15], "cross entropy at the mark", "nat"),
        "eigenvalues": variable(
            ("network", "eigenvalue"),
            5.0 - np.arange(3) + np.zeros((3, 3)),
            "Hessian eigenvalue of the mean loss",
            "nat",
        ),
        "nodes": variable(("network", "draw", "node"), nodes, "Lanczos node (Ritz value)", "nat"),
        "weights": variable(("network", "draw", "node"), np.full((3, 2, 6), 1 / 6), "Lanczos quadrature weight"),
        "effective_dimension": variable(
            ("network", "z"), 100 / (1 + z) + 5.0 * np.arange(3)[:, None], "effective dimension Σ λ/(λ + z)"
        ),
        "effective_dimension_sem": variable(("network", "z"), np.ones((3, 4)), "its standard error"),
        "spectrum_note": variable("network", ["", "", ""], "why the spectrum is not defined; empty where it is"),
    }
    coords = {
        "pair": variable("pair", [f"{a} | {b}" for a, b in combinations(names, 2)], "pair of networks"),
        "split": variable("split", ["train", "test"], "part of the data"),
        "alignment": variable("alignment", ["as it is", "permuted", "rescaled"], "the second network"),
        "network": variable("network", names, "network"),
        "k": [2, 5],
        "t": variable("t", t, "place on the path, the second at 1", symbol="t"),
        "x": variable("x", x, "from teacher to student, in units of their distance, 9.1"),
        "y": variable("y", x, "across, in the same unit"),
        "z": variable("z", z, "prior precision z of the summed loss"),
        "point": ["teacher", "student", "student, permuted"],
        "axis": ["x", "y"],
        "eigenvalue": range(3),
        "draw": range(2),
        "node": range(6),
    }
    found = dataset(numbers, coords, study="compare").expand_dims(seed=[0])
    return found.assign({"run.done": ("seed", [True])})
