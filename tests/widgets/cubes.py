"""Cubes with numbers known in advance, of the size and with the dims that studies leave."""

import numpy as np
import xarray as xr

from kdlandscape.cubes.variables import dataset, variable

TEACHER_SHARE = {"long_name": "teacher's share of the initial weights", "symbol": "λ", "units": "1"}


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
    splits = np.stack([0.7 + 0.3 * lam, 0.6 + 0.3 * lam], axis=-1) - offset[..., None]
    eigenvalues = np.stack([20 + lam, 10 + lam, 5 + lam], axis=-1)
    teacher = np.broadcast_to([25.0, 12.0, 6.0], (*outer, 3))
    way = "along the path from student (t = 0) to teacher (t = 1)"
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
            "path_loss": variable((*dims, "t"), (1 - lam)[..., None] * t * (1 - t) + 0.1, f"loss {way}", "nat"),
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
                (*dims[:2], "eigenvalue"), teacher, "Hessian eigenvalue at the teacher", "nat"
            ),
        },
        coords={
            "seed": range(seeds),
            "lr_policy": variable("lr_policy", ["constant", "scaled"], "learning-rate policy"),
            "init_lambda": ("init_lambda", share, TEACHER_SHARE),
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
    cube = cube.assign({"run.done": (dims[:2], done)})
    outer_dims = [name for name in cube.data_vars if "seed" in cube[name].dims and name != "run.done"]
    return cube.assign({name: cube[name].where(cube["run.done"]) for name in outer_dims})


def spectra_cube(seeds=2):
    """Return what a study of spectra leaves: no λ; eigenvalue k of seed s at t is 10 - k + s + t."""
    members = ["teacher", "0.0", "1.0"]
    dims, t = ("seed", "data_set", "member"), np.linspace(0, 1, 5)
    shape = (seeds, 2, 3)
    start = np.broadcast_to(np.arange(seeds)[:, None, None], shape).astype(float)
    nodes = start[..., None, None] + np.linspace(0, 5, 8) + np.zeros((*shape, 2, 8))
    along = (10.0 - np.arange(4)) + t[:, None] + start[:, :, 0, None, None]
    way = "along the path from teacher (t = 0) to student (t = 1)"
    return dataset(
        {
            "nodes": variable((*dims, "draw", "node"), nodes, "Ritz value", "nat"),
            "weights": variable((*dims, "draw", "node"), np.full_like(nodes, 1 / 8), "Lanczos quadrature weight"),
            "eigenvalues": variable(
                (*dims, "eigenvalue"), 10.0 - np.arange(4) + start[..., None], "Hessian eigenvalue", "nat"
            ),
            "trace": variable(dims, 100 + start, "trace of the curvature of the mean loss", "nat"),
            "trace_sem": variable(dims, 1 + start, "standard error of the trace", "nat"),
            "path_eigenvalues": variable(
                ("seed", "data_set", "t", "eigenvalue"), along, f"Hessian eigenvalue {way}", "nat"
            ),
            "path_effective_dimension": variable(
                ("seed", "data_set", "t", "z"), along[..., :3], f"effective dimension {way}"
            ),
        },
        coords={
            "seed": range(seeds),
            "data_set": ["mnist1d", "digits"],
            "member": members,
            "draw": range(2),
            "node": range(8),
            "eigenvalue": range(4),
            "t": t,
            "z": [0.01, 1.0, 100.0],
        },
        study="spectra",
    ).assign({"run.done": (("seed", "data_set"), np.ones((seeds, 2), bool))})


def other_cube():
    """Return a cube of another subject: its own dims, dates, truth values, no labels, no runs."""
    rng = np.random.default_rng(0)
    dims = {"temperature_c": 4, "site": 3, "day": 5, "wet": 2}
    return xr.Dataset(
        {"growth": (tuple(dims), rng.random(tuple(dims.values()))), "light": (("day", "site"), rng.random((5, 3)))},
        {
            "temperature_c": ("temperature_c", [1.5, 2.5, 7.0, 9.0], {"long_name": "temperature", "units": "°C"}),
            "site": ["north", "south", "moor"],
            "day": np.arange("2026-01-01", "2026-01-06", dtype="datetime64[D]").astype("datetime64[ns]"),
            "wet": [True, False],
        },
    )
