"""Random vectors, and the one meaning of "no generator": a new one of seed 0, so that a question repeats itself."""

import torch
from torch import Tensor


def seeded(generator: torch.Generator | None, device: torch.device) -> torch.Generator:
    """Return the generator that was given, or a new one of seed 0 on the device."""
    return generator if generator is not None else torch.Generator(device).manual_seed(0)


def normal(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw rows (count, P) of independent standard normals, with the dtype and device of a vector (P,)."""
    draw = torch.randn(count, len(like), generator=generator, device=generator.device, dtype=like.dtype)
    return draw.to(like.device)


def signs(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw rows (count, P) of independent random signs, with the dtype and device of a vector (P,)."""
    bits = torch.randint(0, 2, (count, len(like)), generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * bits - 1).to(like)
