"""Paths as a user wrote them: a run works in the folder of its notebook, the command was given in another one.

The shell's variable PWD still names that one, in every process that a command starts.
"""

import os
from pathlib import Path


def remember_folder() -> None:
    """Take the working folder as the one that paths are written from, here and in all that this process starts.

    A program that starts this one may have left its own in PWD.
    """
    os.environ["PWD"] = os.getcwd()


def places_of(path: str) -> list[Path]:
    """Return where a path may lead: from the working folder, and from the one in which the command was given."""
    return [Path(base, path).expanduser().resolve() for base in ("", os.environ.get("PWD", ""))]
