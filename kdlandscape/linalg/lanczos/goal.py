"""When a search for eigenpairs is at its end, and the pairs that it then gives."""

import math

import torch

from kdlandscape.linalg.lanczos.ritz import Eigenpairs, Ritz, select, value_errors
from kdlandscape.linalg.lanczos.space import Matvec, Space

SPARE_BYTES = 2**28  # what Ritz vectors beyond the wanted ones take at most once they are found


class Goal:
    """What is wanted of a space, how far it is, and whether a probe has shown that nothing was missed."""

    def __init__(self, k: int, which: str, tolerance: float, stop: str, target: float) -> None:
        self.k, self.which, self.tolerance, self.stop, self.target = k, which, tolerance, stop, target
        self.before = torch.zeros(0, dtype=torch.float64)  # the wanted values when the probe began
        self.missed, self.reached, self.wants_probe = 1.0, False, False

    def look(self, space: Space) -> None:
        """Look at the Ritz values of the space and decide what comes next."""
        self.wanted = select(space.theta, self.k, self.which)
        values, bound = space.theta[self.wanted], self.tolerance * space.scale
        residuals = (space.coupling.T @ space.coordinates).norm(dim=0)
        errors = (residuals if self.stop == "residual" else value_errors(space.theta, residuals))[self.wanted]
        done, closed = len(values) == self.k and bool((errors <= bound).all()), not len(space.frontier)
        if space.dim == space.vectors.shape[1]:
            self.reached, self.missed = True, 0.0
            return
        if float(space.coupling.norm()) <= bound:  # the space is invariant: what lies outside it was never seen
            self.target = min(self.target, 1e-3)
        same, tied = (
            done and len(self.before) == self.k and bool(((values - self.before).abs() <= 2 * bound).all()),
            False,
        )
        if same:
            self.missed, tied = (0.0, False) if closed else self._miss(space, bound)
        self.reached = done and (self.missed <= self.target or tied)
        self.wants_probe = not self.reached and (closed or (done and not same))

    def _miss(self, space: Space, bound: float) -> tuple[float, bool]:
        """Bound the probability of a miss; also say that the probe can bring no more (a tie, or a chain cut short)."""
        if space.chain is None:
            return 1.0, True
        chain = torch.linalg.eigvalsh(space.projected[space.chain :, space.chain :])
        values, split = space.theta[self.wanted], self.k - self.k // 2
        highs = {"both": values[:split], "largest": values, "magnitude": values.abs(), "smallest": values[:0]}[
            self.which
        ]
        lows = {"both": values[split:], "smallest": values, "magnitude": -values.abs(), "largest": values[:0]}[
            self.which
        ]
        gaps = [(float(highs.min() - chain[-1]), float(highs.min()) - space.low)] if len(highs) else []
        gaps += [(float(chain[0] - lows.max()), space.high - float(lows.max()))] if len(lows) else []
        epsilon = min(max(gap, 0.0) / max(reach, bound, 1e-300) for gap, reach in gaps)
        probability = 1.648 * (space.vectors.shape[1] * math.exp(-2 * epsilon**0.5 * (2 * len(chain) - 1))) ** 0.5
        return min(probability, 1.0), min(gap for gap, _ in gaps) <= bound

    def pairs(self, space: Space, matvec: Matvec) -> Eigenpairs:
        """Form the Ritz vectors, in the place of the basis, and their residuals."""
        spare = min(space.dim - self.k, max(self.k, 8), SPARE_BYTES // space.vectors[0].nbytes)
        kept = select(space.theta, len(self.wanted) + max(spare, 0), self.which)
        kept = torch.cat([self.wanted, kept[~torch.isin(kept, self.wanted)]])
        every = (space.coupling.T @ space.coordinates).norm(dim=0)
        values, coupling = space.theta[kept], space.coordinates[:, kept].T @ space.coupling
        space.rotate(space.coordinates[:, kept])
        rows, count = space.vectors[: len(kept)].clone(), len(self.wanted)
        if space.dropped:
            products = matvec(rows[:count])
            space.num_matvecs += count
            residuals = (products - values[:count].to(rows)[:, None] * rows[:count]).norm(dim=1)
            every[self.wanted] = residuals.to(every)
            coupling, space.frontier = coupling[:, :0], space.frontier[:0]
        residuals, errors = every[self.wanted], value_errors(space.theta, every)[self.wanted]
        converged = (residuals if self.stop == "residual" else errors) <= self.tolerance * space.scale
        return Eigenpairs(
            values[:count].to(rows),
            rows[:count],
            residuals.to(rows),
            errors.to(rows),
            converged.to(rows.device),
            space.num_matvecs,
            self.missed,
            Ritz(values, rows, coupling, space.frontier, (space.low, space.high)),
        )
