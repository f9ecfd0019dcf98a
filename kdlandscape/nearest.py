"""Help with names in messages: the valid ones, and the one that was probably meant.  Every folder may import this."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: object, valid: Iterable[object], count: int = 1) -> list[str]:
    """Return up to ``count`` valid names that are close to ``name``, the closest first."""
    return get_close_matches(str(name), sorted(map(str, valid)), n=count, cutoff=0.5)


def did_you_mean(name: object, valid: Iterable[object]) -> str:
    """Return `` Did you mean 'x'?`` for the closest valid name, or an empty string."""
    return "".join(f" Did you mean {close!r}?" for close in nearest(name, valid))


def listed(names: Iterable[object]) -> str:
    """Return names as a message lists them."""
    return ", ".join(map(str, names)) or "none"
