"""The errors a user of sweeps can meet: what was expected, what came, and the nearest valid name."""

import difflib
from collections.abc import Iterable


class SpecError(ValueError):
    """A study's description cannot be run as it stands; nothing was started or written."""


class StudyError(ValueError):
    """A study's folder does not fit what is asked of it."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest valid name, or an empty string."""
    close = difflib.get_close_matches(str(name), sorted(map(str, valid)), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(names: Iterable[str]) -> str:
    """Join names for a message."""
    return ", ".join(names) or "none"
