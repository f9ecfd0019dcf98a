"""Text on a terminal: what names, paths and errors of others say is shown, and never obeyed."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

_KEPT = "\n\t\u00a0"
_MANY = 20  # lines of one kind


def visible(text: str) -> str:
    """Return a text with each character that a terminal may obey, or that hides others, as Python spells it."""
    return "".join(one if one.isprintable() or one in _KEPT else one.encode("unicode_escape").decode() for one in text)


def show(text: object, stream: Any = None) -> None:
    """Print a text of any origin; what the stream's encoding lacks is spelled out too."""
    stream = stream or sys.stdout  # as it is now: a test may have replaced it
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(visible(str(text)).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def show_some(
    runs: Sequence[Any], line: Callable[[Any], str], *, indent: str = "", more: str = "", stream: Any = None
) -> None:
    """Print a line for each of the first runs, and how many there are beyond; ``more`` says where to see them."""
    for run in runs[:_MANY]:
        show(f"{indent}{line(run)}", stream)
    if len(runs) > _MANY:
        show(f"{indent}... and {len(runs) - _MANY} more{more}", stream)
