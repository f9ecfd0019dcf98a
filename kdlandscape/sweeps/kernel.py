"""The kernel of a run, as its own main program: dead as soon as its worker is, with a limit on what it prints."""

import contextlib
import faulthandler
import os
import sys
from typing import Any

from kdlandscape.sweeps.processes import die_with

_LONGEST_OUTPUT = 1_000_000  # characters of each stream that an executed notebook keeps


def launch(arguments: list[str]) -> None:
    """Be a kernel until it is shut down."""
    # a copy of the error stream, because ipykernel redirects the stream itself: a crash leaves its traceback in the log
    faulthandler.enable(os.dup(2))
    from ipykernel.kernelapp import IPKernelApp

    _limit_output()
    IPKernelApp.launch_instance(argv=arguments)


def _limit_output() -> None:
    """Cut a stream that a notebook floods: 100 MB of prints would be held by kernel, worker and notebook file."""
    from ipykernel.iostream import OutStream

    write = OutStream.write
    written: dict[int, int] = {}

    def limited(stream: Any, text: str) -> int | None:
        before = written.get(id(stream), 0)
        written[id(stream)] = after = before + len(text)
        if before > _LONGEST_OUTPUT:
            return len(text)
        if after > _LONGEST_OUTPUT:
            note = f"\n[expected at most {_LONGEST_OUTPUT:,} characters on {stream.name}; the rest is cut]\n"
            text = text[: _LONGEST_OUTPUT - before] + note
        return write(stream, text)

    setattr(OutStream, "write", limited)  # noqa: B010 - a plain assignment is a type error


def main() -> None:
    """Be a cold kernel."""
    die_with(int(os.environ["JPY_PARENT_PID"]))
    with contextlib.suppress(KeyboardInterrupt):
        launch(sys.argv[1:])


if __name__ == "__main__":
    main()
