"""The questions that a curvature operator answers; it remembers what it found."""

from typing import Any, Literal

import torch
import xarray as xr
from torch import Tensor

from kdlandscape.cubes import spectra
from kdlandscape.landscape.curvature import densities, eigenpairs, traces
from kdlandscape.landscape.curvature.dimensions import dimension_to
from kdlandscape.landscape.curvature.operator import Operator
from kdlandscape.landscape.draws import seeded
from kdlandscape.linalg.lanczos.ritz import Stop, Which
from kdlandscape.summary import Summarized, count


class Curvature(Summarized, Operator):
    """A curvature matrix of the *mean* loss at one theta, never formed; `hessian`, `ggn` and the Fishers make it.

    ``h @ v`` multiplies. The methods ask about the spectrum: each returns a labelled Dataset with its errors, whose
    attribute ``num_matvecs`` says how many products the numbers rest on. The first product prepares the graphs of the
    network for all questions. A question without a ``generator`` or ``start`` of its own draws from seed 0 and uses
    what was found before: the same or fewer eigenpairs, and the effective dimension or a trace after a density, cost no
    product, more eigenpairs go on from the Krylov space of those known, and more draws from those taken. Densities,
    traces and effective dimensions take converged eigenpairs as exact, and estimate what lies in their complement only.

    Notes
    -----
    Memory in vectors of the length of theta, beside the network, its graphs and about a dozen for a product: eigenpairs
    max(64, 3 k + 40), or fewer where those exceed 4 GiB, down to k + max(k, 8), and those that are kept, at most
    2 k + 9; quadrature and SLQ densities ``num_matvecs``; KPM what its two eigenpairs take; traces as many as products
    and 25 by XTrace, two thirds and 20 by Hutch++, twice as many by XNysTrace, 32 by Hutchinson and for the diagonal.
    """

    def _summary(self) -> tuple[str, dict[str, Any]]:
        facts = {"matrix": self.name, "size": f"{self.dim:,} × {self.dim:,}", "params": self.facts["params"]}
        facts |= {"unit": self.units, "data": count(self.facts["num_examples"], "example")}
        return "Curvature", {**facts, "products so far": self.num_matvecs}

    def top_eigenpairs(
        self,
        k: int = 1,
        *,
        which: Which = "largest",
        tol: float = 1e-6,
        stop: Stop = "residual",
        max_matvecs: int | None = None,
        miss_probability: float = 1.0,
        start: Tensor | None = None,
        vectors: bool = False,
        generator: torch.Generator | None = None,
    ) -> xr.Dataset:
        r"""Return k extreme eigenvalues; those of the summed loss are W times larger.

        Block Lanczos with full reorthogonalization and thick restarts, stopped on the residual; see
        `kdlandscape.linalg.lanczos`.

        Parameters
        ----------
        k
            How many pairs, at most P.
        which
            ``largest``, ``smallest``, ``both`` ends or largest ``magnitude``.
        tol, stop
            Error that counts as converged, relative to the largest magnitude found: of the residual
            :math:`\|Av - \lambda v\|`, or with ``stop="value"`` of the value itself, by min(r, r²/gap), which takes
            fewer products.
        max_matvecs
            Upper bound on products; pairs short of the tolerance then say so in ``converged``.
        miss_probability
            Below 1: go on until the probability that an eigenvalue was missed is bounded by this.
        start
            Start block (b, P'), such as `kdlandscape.linalg.warm.warm_start` gives; default: one random vector.
        vectors
            Whether the result holds the eigenvectors, (k, P').
        generator
            The generator for the random start vector.

        Returns
        -------
        xarray.Dataset
            ``eigenvalues``, ``residuals``, ``eigenvalue_errors`` and ``converged`` over ``eigenvalue`` (0 is the most
            extreme); ``eigenvectors`` over ``eigenvalue, dim`` on request, ``dim`` being places in theta.

        Raises
        ------
        ValueError
            More pairs than parameters, or a product that is not finite or not symmetric.
        """
        question = eigenpairs.Question(k, which, tol, stop, miss_probability)
        known = self.found.get(which) if start is None and generator is None else None
        answer = eigenpairs.find(self, question, known, start=start, max_matvecs=max_matvecs, generator=generator)
        if known is None or k >= known.question.k:
            self.found[which] = answer
        return eigenpairs.table(self, answer, vectors)

    def quadrature(
        self, *, num_matvecs: int = 100, num_draws: int = 10, generator: torch.Generator | None = None
    ) -> xr.Dataset:
        """Return Lanczos quadrature rules: ``nodes`` and ``weights`` over ``draw, node``.

        A mean of f over the spectrum is the mean over draws of the sum of weights times f(nodes). `density` and
        `effective_dimension` of `kdlandscape.cubes.spectra` read the rules later, without torch. NaN and 0 stand past
        the end of a Krylov space that closed.

        Parameters
        ----------
        num_matvecs
            Lanczos steps a draw; at most P are taken. Memory is as many vectors.
        num_draws
            Random start vectors; with one, no standard error is known.
        generator
            The generator for the start vectors.
        """
        if generator is not None:
            return densities.Rules(self, num_matvecs, generator).take(num_draws)
        key = ("rules", num_matvecs)
        if key not in self.found:
            self.found[key] = densities.Rules(self, num_matvecs, seeded(None, self.theta.device))
        return densities.last_rules(self, self.found[key], num_draws)

    def spectral_density(
        self,
        *,
        method: Literal["slq", "kpm"] = "slq",
        num_matvecs: int = 100,
        num_draws: int = 10,
        width: float = 0.01,
        grid: Any = None,
        generator: torch.Generator | None = None,
    ) -> xr.Dataset:
        r"""Estimate the density of eigenvalues, :math:`\rho(\lambda) = \frac{1}{P} \sum_i \delta(\lambda - \lambda_i)`.

        Costs ``num_draws * num_matvecs`` products at most.

        Parameters
        ----------
        method
            ``slq``: Lanczos quadrature; the rules are kept, so the width of the kernel can be chosen again later
            by `kdlandscape.cubes.spectra.density` at no product. ``kpm``: Chebyshev moments in Jackson's kernel, of
            width about pi / (2 num_matvecs) of the range; ``width`` is not used. Costs 20 to 30 products more for the
            ends.
        num_matvecs
            Lanczos steps or Chebyshev products a draw; at most P are taken.
        num_draws
            Random start vectors; with one, the standard error is NaN.
        width
            Standard deviation of the Gaussian kernel, relative to the range of the nodes.
        grid
            Eigenvalues at which to evaluate; default: a grid that holds the whole density.
        generator
            The generator for the start vectors.

        Returns
        -------
        xarray.Dataset
            ``density`` and ``density_sem`` over ``grid``, per unit of eigenvalue: the integral is 1, unforced. SLQ: the
            rules of `quadrature`; KPM: ``chebyshev_moments`` over ``draw, moment``.

        References
        ----------
        Ghorbani, Krishnan and Xiao, An investigation into neural net optimization via Hessian eigenvalue density, 2019;
        Weisse et al., The kernel polynomial method, Rev. Mod. Phys. 2006.
        """
        if method not in ("slq", "kpm"):
            raise ValueError(f"expected method to be slq or kpm, got {method!r}")
        if method == "kpm":
            return densities.chebyshev(self, num_matvecs, num_draws, grid, seeded(generator, self.theta.device))
        rules = self.quadrature(num_matvecs=num_matvecs, num_draws=num_draws, generator=generator)
        return spectra.density(rules, width=width, grid=grid)

    def effective_dimension(
        self,
        z: Any,
        *,
        scale: Literal["sum", "mean"] = "sum",
        num_matvecs: int | None = None,
        num_draws: int | None = None,
        rtol: float | None = None,
        max_matvecs: int = 20_000,
        generator: torch.Generator | None = None,
    ) -> xr.Dataset:
        r"""Estimate :math:`N_\mathrm{eff}(z) = \sum_i \lambda_i / (\lambda_i + z)` from quadrature rules.

        Parameters
        ----------
        z, scale
            As for `kdlandscape.cubes.spectra.effective_dimension`, which says what the result holds.
        num_matvecs, num_draws, generator
            As for `quadrature`; default: the rules asked for last, or 10 draws of 100 steps where there are none.
        rtol
            Go on until the standard error at every z is at most this part of the value, in the fewest products: as many
            of the largest eigenpairs are found first as pay for the draws that they save. ``num_draws`` is not used.
        max_matvecs
            Products after which ``rtol`` is given up; the standard error says what was reached.
        """
        if rtol is not None:
            steps = num_matvecs or 100
            return dimension_to(
                self, self.top_eigenpairs, rtol, z, scale, steps=steps, most=max_matvecs, generator=generator
            )
        rules = self.found.get("rules")
        if rules is None or num_matvecs is not None or num_draws is not None or generator is not None:
            rules = self.quadrature(num_matvecs=num_matvecs or 100, num_draws=num_draws or 10, generator=generator)
        found = spectra.effective_dimension(rules, z, scale=scale)
        return found.assign_attrs({**rules.attrs, **found.attrs})

    def trace(
        self,
        *,
        method: traces.Method = "xtrace",
        rtol: float = 0.01,
        atol: float = 0.0,
        max_matvecs: int = 200,
        generator: torch.Generator | None = None,
    ) -> xr.Dataset:
        """Estimate the trace until its standard error is small.

        Parameters
        ----------
        method
            ``xtrace``, ``xnystrace`` (fewer products where no eigenvalue is negative: the GGN and the Fishers),
            ``hutchpp`` or ``hutchinson``; see `kdlandscape.linalg.trace`.
        rtol, atol
            Stop at a standard error below ``max(atol, rtol * |trace|)``; both 0: spend ``max_matvecs``.
        max_matvecs
            Upper bound on products.
        generator
            The generator for the random vectors.

        Returns
        -------
        xarray.Dataset
            ``trace``, ``trace_sem`` and ``trace_converged``.

        Raises
        ------
        ValueError
            An unknown method, or ``xnystrace`` for the Hessian.

        Notes
        -----
        Where the outputs are affine in every single weight (linear and convolution layers, ReLU, fixed BatchNorm, no
        weight used twice) the Hessian and the GGN have the same diagonal. The trace of `ggn` is then the Hessian's, at
        a third of the error, since it has no negative eigenvalues.
        """
        rules = self.found.get("rules")
        if generator is None and method in traces.METHODS and rules is not None:
            known = traces.of_rules(self, rules, rtol, atol)
            if bool(known["trace_converged"]):
                return known
        return traces.trace(self, method, rtol, atol, max_matvecs, seeded(generator, self.theta.device))

    def diagonal(
        self, *, rtol: float = 0.0, max_matvecs: int = 100, generator: torch.Generator | None = None
    ) -> xr.Dataset:
        """Estimate the diagonal (Bekas, Kokiopoulou and Saad 2007).

        Parameters
        ----------
        rtol
            Stop at a standard error of this part of the norm of the diagonal; 0: spend ``max_matvecs``.
        max_matvecs
            Upper bound on products.
        generator
            The generator for the random vectors.

        Returns
        -------
        xarray.Dataset
            ``diagonal`` and ``diagonal_sem`` over ``dim``, the places in theta.
        """
        return traces.diagonal(self, rtol, max_matvecs, seeded(generator, self.theta.device))
