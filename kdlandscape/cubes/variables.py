"""What each variable of a cube means: one table of labels and units, and the function that applies it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

#: name -> (long name, unit).  "1" is dimensionless, "nat" a mean over examples of a natural logarithm.
VARIABLES: dict[str, tuple[str, str]] = {
    "loss": ("loss", "nat"),
    "accuracy": ("accuracy", "1"),
    "error": ("error rate", "1"),
    "agreement": ("top-1 agreement with the teacher", "1"),
    "kl": ("KL(teacher ‖ student)", "nat"),
    "kl_teacher_student": ("KL(teacher ‖ student)", "nat"),
    "kl_student_teacher": ("KL(student ‖ teacher)", "nat"),
    "total_variation": ("total variation distance", "1"),
    "jensen_shannon": ("Jensen–Shannon divergence", "nat"),
    "teacher_accuracy": ("teacher accuracy", "1"),
    "student_accuracy": ("student accuracy", "1"),
    "teacher_nll": ("teacher negative log likelihood", "nat"),
    "student_nll": ("student negative log likelihood", "nat"),
    "teacher_ece": ("teacher expected calibration error", "1"),
    "student_ece": ("student expected calibration error", "1"),
    "agreement_min": ("least agreement that both accuracies allow", "1"),
    "agreement_max": ("greatest agreement that both accuracies allow", "1"),
    "agreement_teacher_right": ("agreement where the teacher is right", "1"),
    "agreement_teacher_wrong": ("agreement where the teacher is wrong", "1"),
    "excess_agreement": ("agreement in excess of the independent student", "1"),
    "excess_teacher_wrong": ("excess agreement where the teacher is wrong", "1"),
    "control_kl": ("KL(teacher ‖ independent student)", "nat"),
    "confidence_slope": ("slope of student logits on teacher logits", "1"),
    "invariance_agreement": ("share of inputs where both are invariant to a view, or both are not", "1"),
    "control_agreement": ("agreement of the independent student", "1"),
    "ece": ("expected calibration error", "1"),
    "done": ("evaluated", "1"),
    "finite": ("finite loss", "1"),
    "barrier": ("linear barrier to the teacher", "nat"),
    "path_loss": ("loss along the path from student (t = 0) to teacher (t = 1)", "nat"),
    "plane_loss": ("loss on the plane through teacher, initial and final student", "nat"),
    "plane_points": ("plane coordinates of teacher, initial and final student", "teacher–random distance"),
    "distance_start": ("distance to the teacher before distillation", "1"),
    "distance_end": ("distance to the teacher after distillation", "1"),
    "distance_ratio": ("distance to the teacher, end over start", "1"),
    "distance": ("distance to the teacher", "1"),
    "distance_travelled": ("distance from the initial to the final student", "1"),
    "eigenvalues": ("Hessian eigenvalue of the mean loss", "nat"),
    "student_eigenvalues": ("Hessian eigenvalue at the student", "nat"),
    "teacher_eigenvalues": ("Hessian eigenvalue at the teacher", "nat"),
    "eigenvalue_errors": ("expected error of the eigenvalue", "nat"),
    "nodes": ("Lanczos quadrature node (Ritz value)", "nat"),
    "weights": ("Lanczos quadrature weight", "1"),
    "effective_dimension_truncation": ("bound on the effective dimension's error from few Lanczos steps", "1"),
    "density": ("spectral density of the mean loss", "1/nat"),
    "density_sem": ("standard error of the spectral density", "1/nat"),
    "chebyshev_moments": ("Chebyshev moment of the spectral measure", "1"),
    "trace": ("trace of the curvature of the mean loss", "nat"),
    "trace_sem": ("standard error of the trace", "nat"),
    "trace_converged": ("trace within its tolerance", "1"),
    "diagonal": ("diagonal of the curvature of the mean loss", "nat"),
    "diagonal_sem": ("standard error of the diagonal", "nat"),
    "effective_dimension": ("effective dimension Σ λ/(λ + z)", "1"),
    "effective_dimension_sem": ("standard error of the effective dimension", "1"),
    "negative_mass": ("share of negative eigenvalues in the sum of magnitudes", "1"),
    "overlap": ("overlap of the leading eigenspaces", "1"),
    "num_matvecs": ("curvature products taken", "1"),
    "sharpness": ("sharpness", "1"),
    "adaptive_sharpness": ("adaptive sharpness: rise of the loss in a ball scaled by the weights", "nat"),
    "pac_bayes_sharpness": ("PAC-Bayes sharpness 1/σ² at a given rise of the loss", "1"),
    "path_eigenvalues": ("Hessian eigenvalue along the path from teacher (t = 0) to student (t = 1)", "nat"),
    "path_effective_dimension": ("effective dimension along the path from teacher (t = 0) to student (t = 1)", "1"),
    "residuals": ("eigenpair residual ‖Hv − λv‖", "nat"),
    "converged": ("residual below the tolerance", "1"),
    "eigenvectors": ("unit eigenvector", "1"),
    "path_length": ("distance travelled along the recorded points", "1"),
    "heading": ("cosine of the displacement and the direction to the target", "1"),
    "cka": ("centred kernel alignment", "1"),
    "path_curvature": ("curvature along the path, vᵀHv of the unit tangent v", "nat"),
    "path_kl": ("KL(teacher ‖ network) along the path to the teacher (t = 1)", "nat"),
    "path_agreement": ("top-1 agreement with the teacher along the path to the teacher (t = 1)", "1"),
    "bezier_barrier": ("barrier on a trained curve", "nat"),
    "nll": ("negative log likelihood", "nat"),
    "nll_barrier": ("linear barrier of the negative log likelihood", "nat"),
    "curve_kl": ("KL(teacher ‖ network) along the trained curve to the teacher (t = 1)", "nat"),
    "curve_loss": ("mean loss on the curve during its training", "nat"),
    "end_barrier": ("highest loss on the path minus the larger end", "nat"),
    "cosine": ("cosine with the teacher's parameters", "1"),
    "train_loss": ("distillation loss during training", "nat"),
}
_PREFIXES = {
    "marked_": "marked",
    "train_": "train",
    "test_": "test",
    "distill_": "distillation-set",
    "student_": "student",
}


def label(name: str) -> tuple[str, str]:
    """Return (long name, unit) of a variable; ``train_``, ``test_`` and ``distill_`` name the data it is taken on.

    An unknown variable is labelled by its own name, with unit "1".
    """
    if name in VARIABLES:
        return VARIABLES[name]
    for prefix, data in _PREFIXES.items():
        rest = name.removeprefix(prefix)
        if rest != name and rest in VARIABLES:
            long_name, unit = VARIABLES[rest]
            return f"{data} {long_name}", unit
    return name.replace("_", " "), "1"


def variable(dims: str | Sequence[str], values: Any, long_name: str, units: str = "1", **attrs: Any) -> xr.Variable:
    """Return a labelled array, ready for `dataset`: whoever computes a number says here what it is.

    Parameters
    ----------
    dims, values
        Names of the axes, and the array (numpy, or a tensor on the CPU).
    long_name, units
        What the number is, in words that a reader of a figure understands, and its unit; "1" is dimensionless.
    attrs
        More that belongs to this number: its definition, its symbol.
    """
    axes = (dims,) if isinstance(dims, str) else tuple(dims)
    return xr.Variable(axes, np.asarray(values), {"long_name": long_name, "units": units, **attrs})


def dataset(
    values: Mapping[str, Any], dims: Sequence[str] = (), coords: Mapping[str, Any] | None = None, **attrs: Any
) -> xr.Dataset:
    """Make a labelled Dataset of arrays (numpy, or tensors on the CPU) that share their leading dims.

    Parameters
    ----------
    values
        name -> `variable`, which keeps its dims and its label. Or an array over ``dims``, or a pair (dims, array) for a
        variable with dims of its own.
    dims, coords
        Names of the axes, and coordinates by name.
    attrs
        Attributes of the whole Dataset (settings, versions).
    """
    variables: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, xr.DataArray) and {"long_name", "units"} <= set(value.attrs):
            for dim in value.dims:
                _same(name, str(dim), value, found)
            value = value.variable
        if isinstance(value, xr.Variable):
            variables[name] = value
            continue
        axes, array = value if isinstance(value, tuple) else (dims, value)
        kept: dict[str, Any] = {}
        if isinstance(array, xr.DataArray):
            axes, kept, array = array.dims, array.attrs, array.values
        long_name, units = label(name)
        variables[name] = (tuple(axes), np.asarray(array), {**kept, "long_name": long_name, "units": units})
    return xr.Dataset(variables, coords=found | dict(coords or {}), attrs=attrs)


def _same(name: str, dim: str, array: xr.DataArray, found: dict[str, Any]) -> None:
    """Keep the coordinate that an array brings for a dim; ValueError if an earlier one brought another."""
    if dim not in array.coords:
        return
    own = array[dim].variable
    if not found.setdefault(dim, own).equals(own):
        raise ValueError(f"{name}: expected the coordinate {dim} of the variables before it, got another one")
