"""Cubes with numbers known in advance, of the size that a study leaves."""

import numpy as np

from kdlandscape.cubes.variables import dataset, variable


def study_cube(num_lambda=11, num=51, seeds=3):
    """Return a cube with planes of num by num points: the loss at (y, x) is (x - λ)² + y² + (seed + 1) / 100.

    The run of the last seed and policy is missing.
    """
    share = np.linspace(0, 1, num_lambda).round(6)
    axis = np.linspace(-0.5, 1.5, num)
    outer = (seeds, 2)
    lam = np.broadcast_to(share, (*outer, num_lambda))
    offset = np.broadcast_to((np.arange(seeds)[:, None, None] + 1) / 100, (*outer, num_lambda))
    plane = (axis - lam[..., None, None]) ** 2 + axis[:, None] ** 2 + offset[..., None, None]
    at = np.array([[0.0, 0.0], [0.6, 0.5], [1.0, 0.0]])  # teacher, init, student at λ = 0
    points = np.broadcast_to((1 - share)[:, None, None] * at, (*outer, num_lambda, 3, 2))
    t = np.linspace(0, 1, 21)
    dims = ("seed", "lr_policy", "init_lambda")
    splits = np.stack([0.7 + 0.3 * lam, 0.6 + 0.3 * lam], axis=-1)
    eigenvalues = np.stack([20 + lam, 10 + lam, 5 + lam], axis=-1)
    cube = dataset(
        {
            "plane_loss": variable(
                (*dims, "y", "x"),
                plane.astype("f4"),
                "loss on the plane through teacher, initial and final student",
                "nat",
            ),
            "plane_points": variable(
                (*dims, "point", "axis"), points, "places on the plane", "teacher–random distance"
            ),
            "path_loss": variable(
                (*dims, "t"),
                (1 - lam)[..., None] * t * (1 - t) + 0.1,
                "loss along the path from student (t = 0) to teacher (t = 1)",
                "nat",
            ),
            "agreement": variable((*dims, "split"), splits, "top-1 agreement with the teacher"),
            "control_agreement": variable(
                (*dims, "split"), np.full_like(splits, 0.5), "agreement of the independent student"
            ),
            "distance_start": variable(dims, 10 * (1 - lam), "distance to the teacher before distillation"),
            "distance_end": variable(dims, 12 * (1 - lam) ** 2, "distance to the teacher after distillation"),
            "barrier": variable(dims, (1 - lam) / 4, "linear barrier to the teacher", "nat"),
            "student_eigenvalues": variable(
                (*dims, "eigenvalue"), eigenvalues, "Hessian eigenvalue at the student", "nat"
            ),
            "teacher_eigenvalues": variable(
                (*dims[:2], "eigenvalue"),
                np.broadcast_to([25.0, 12.0, 6.0], (*outer, 3)),
                "Hessian eigenvalue at the teacher",
                "nat",
            ),
        },
        coords={
            "seed": range(seeds),
            "lr_policy": ["constant", "scaled"],
            "init_lambda": share,
            "y": axis,
            "x": axis,
            "t": t,
            "split": ["train", "test"],
            "eigenvalue": range(3),
            "point": ["teacher", "init", "student"],
            "axis": ["x", "y"],
        },
        study="demo",
    )
    done = np.ones(outer, bool)
    done[-1, -1] = False
    cube = cube.assign(done=(dims[:2], done))
    outer_dims = [name for name in cube.data_vars if "seed" in cube[name].dims and name != "done"]
    return cube.assign({name: cube[name].where(cube["done"]) for name in outer_dims})
