"""The settings of an evaluation."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Strategy:
    """How the loss is evaluated at many points; every strategy gives the same numbers up to rounding.

    Attributes
    ----------
    points
        Points evaluated at once by ``torch.func.vmap``; 1: one after the other.
    examples
        Examples a forward pass; default: the objective's own batch size.
    channels_last
        Whether images (n, C, H, W) are laid out channels last.
    trace
        Run a recorded graph instead of the module: BatchNorm is folded into the convolution before it, ReLU works in
        place, and what does not depend on theta is computed once.
    affine
        On a line or plane: the first layer's output is affine in the coordinates, so it is combined from its values at
        the origin and along each direction. Needs ``trace`` and one point at a time.
    workers
        Threads that each evaluate their own points on one core. More than 1 needs ``trace``.
    compile
        Compile the recorded graph; takes seconds to a minute, once for each shape. Needs ``trace``.
    """

    points: int = 1
    examples: int | None = None
    channels_last: bool = False
    trace: bool = False
    affine: bool = False
    workers: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        if self.points < 1 or self.workers < 1 or (self.examples is not None and self.examples < 1):
            raise ValueError(f"expected points, examples and workers of at least 1, got {self}")
        if (self.affine or self.workers > 1 or self.compile) and not self.trace:
            raise ValueError("affine, workers and compile run a recorded graph: expected trace=True as well, got False")
        if self.points > 1 and (self.trace or self.affine):
            raise ValueError(f"expected points=1 with trace=True, got points={self.points}")

    def facts(self) -> dict[str, Any]:
        """Return the settings that differ from the plain loop, for a result's attrs."""
        plain = asdict(Strategy())
        return {name: value for name, value in asdict(self).items() if value != plain[name]} or {"points": 1}
