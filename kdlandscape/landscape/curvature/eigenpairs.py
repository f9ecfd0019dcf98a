"""Extreme eigenpairs of an operator: found, remembered, continued and labelled."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes.variables import dataset, variable
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.landscape.draws import normal, seeded
from kdlandscape.linalg.lanczos.ritz import Eigenpairs, Ritz, Stop, Which
from kdlandscape.linalg.lanczos.thick_restart import top_eigenpairs


class Question(NamedTuple):
    """What is asked: k pairs of which end, to which tolerance."""

    k: int
    which: Which
    tol: float
    stop: Stop
    miss_probability: float


class Answer(NamedTuple):
    """The pairs that were found, and the question that they answer."""

    question: Question
    pairs: Eigenpairs


def find(
    a: Operator,
    question: Question,
    known: Answer | None,
    *,
    start: Tensor | None,
    max_matvecs: int | None,
    generator: torch.Generator | None,
) -> Answer:
    """Answer from what is known where that is enough; else go on from its Krylov space, if there is one.

    Pairs that go on from an earlier search count its products as their own.
    """
    if known is not None and _is_answered(question, known):
        return _part(question, known)
    generator = seeded(generator, a.theta.device)
    if start is None:
        start = normal(1, a.theta, generator)
    pairs = top_eigenpairs(
        a,
        start.to(a.theta),
        question.k,
        which=question.which,
        tol=question.tol,
        stop=question.stop,
        max_matvecs=max_matvecs,
        miss_probability=question.miss_probability,
        generator=generator,
        known=None if known is None else known.pairs.space,
    )
    before = 0 if known is None else known.pairs.num_matvecs
    return Answer(question, replace(pairs, num_matvecs=pairs.num_matvecs + before))


def _is_answered(question: Question, known: Answer) -> bool:
    asked = known.question
    return (
        question.k <= asked.k
        and question.tol >= asked.tol
        and question.stop in (asked.stop, "value")
        and (question.miss_probability >= known.pairs.miss_probability or question.miss_probability >= 1)
        and bool(known.pairs.converged.all())
    )


def _part(question: Question, known: Answer) -> Answer:
    """Take the k outermost of more pairs; of both ends, half from each."""
    low = question.k // 2 if question.which == "both" else 0
    rows = [*range(question.k - low), *range(known.question.k - low, known.question.k)]
    parts: dict[str, Any] = {
        name: getattr(known.pairs, name)[rows] for name in ("values", "vectors", "residuals", "errors", "converged")
    }
    return Answer(question, replace(known.pairs, **parts))


def held(a: Operator) -> Answer | None:
    """Return the pairs that an operator holds, all of them converged; of several answers the one with most pairs."""
    answers = [one for one in a.found.values() if isinstance(one, Answer) and bool(one.pairs.converged.all())]
    return max(answers, key=lambda one: len(one.pairs.values), default=None)


def held_space(a: Operator) -> tuple[Ritz | None, int]:
    """Return the largest space of Ritz vectors that an operator holds, and the products that it took.

    In a space that fills that of the parameters nothing is left to be asked.
    """
    answers = [one for one in a.found.values() if isinstance(one, Answer)]
    best = max(answers, key=lambda one: len(one.pairs.space.values), default=None)
    if best is None or len(best.pairs.space.values) > a.dim - 8:
        return None, 0
    return best.pairs.space, best.pairs.num_matvecs


def table(a: Operator, answer: Answer, vectors: bool) -> xr.Dataset:
    """Label the pairs: a Dataset over ``eigenvalue``, and ``dim`` where the vectors are wanted."""
    pairs, dims = answer.pairs, ("eigenvalue",)
    values = {
        "eigenvalues": variable(dims, pairs.values.cpu(), f"{a.name} eigenvalue of the mean loss", a.units),
        "residuals": variable(dims, pairs.residuals.cpu(), "residual of the eigenpair, ‖Av − λv‖", a.units),
        "eigenvalue_errors": variable(dims, pairs.errors.cpu(), "expected error of the eigenvalue", a.units),
        "converged": variable(dims, pairs.converged.cpu(), "eigenpair within its tolerance"),
    }
    coords: dict[str, Any] = {"eigenvalue": range(answer.question.k)}
    if vectors:
        values["eigenvectors"] = variable(("eigenvalue", "dim"), pairs.vectors.cpu(), f"unit {a.name} eigenvector")
        coords["dim"] = a.places.numpy()
    asked = answer.question
    return dataset(values, coords=coords, which=asked.which, tol=asked.tol, num_matvecs=pairs.num_matvecs, **a.facts)
