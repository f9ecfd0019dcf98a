"""What is left of an operator once some orthonormal vectors are known: its part in their complement."""

from collections.abc import Callable

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]


def outside(rows: Tensor, known: Tensor) -> Tensor:
    """Return the rows' parts orthogonal to orthonormal rows, x − V'V x: projected twice, for the sake of rounding."""
    for _ in range(2):
        rows = torch.addmm(rows, rows @ known.T, known, alpha=-1)
    return rows


def deflated(matvec: Matvec, known: Tensor) -> Matvec:
    """Return the operator (I − V'V) A (I − V'V) of rows (b, n), for orthonormal rows V (k, n).

    tr A is tr VAV' plus the trace of this one, exactly.  Where V holds eigenvectors, the spectrum of A is theirs and
    that of this operator in the complement.  Where V has residuals R, A differs from the two parts by blocks off the
    diagonal, so that tr f(A) differs by a term of second order in R.
    """
    return lambda rows: outside(matvec(outside(rows, known)), known)
