"""The kernel of a run, as its own main program: dead as soon as its worker is, with a limit on what it prints."""

import contextlib
import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

from kdlandscape.sweeps.processes import die_with
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE, begin, settle, watch_defaults

_LONGEST_OUTPUT = 1_000_000  # characters of each stream that an executed notebook keeps
_LARGEST_DISPLAY, _ALL_DISPLAYS = 10_000_000, 50_000_000  # characters


def launch(arguments: list[str]) -> None:
    """Be a kernel until it is shut down."""
    # a copy of the error stream, because ipykernel redirects the stream itself: a crash leaves its traceback in the log
    faulthandler.enable(os.dup(2))
    from ipykernel.kernelapp import IPKernelApp

    settle()
    _limit_output()
    _limit_displays()
    application = IPKernelApp.instance()
    application.initialize(arguments)
    import_from_here()
    context = Path(os.environ[CONTEXT_VARIABLE])
    about = json.loads(context.read_text(encoding="utf-8"))
    watch_defaults(application.shell, about["parameters_cell"], about["parameter_names"])
    application.start()


def import_from_here() -> None:
    """Let modules beside the notebook be imported, as Jupyter does: before packages, after the standard library."""
    if "" not in sys.path:
        packages = (i for i, path in enumerate(sys.path) if Path(path).name in ("site-packages", "dist-packages"))
        sys.path.insert(next(packages, len(sys.path)), "")


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


def _limit_displays() -> None:
    """Leave out a display that is too large, and all after too many: the notebook file would have to hold them."""
    from ipykernel.displayhook import ZMQShellDisplayHook
    from ipykernel.zmqshell import ZMQDisplayPublisher

    shown = 0

    def limited(data: dict[str, Any]) -> dict[str, Any]:
        nonlocal shown
        size = sum(len(content) if isinstance(content, str | bytes) else len(str(content)) for content in data.values())
        shown += size
        if size <= _LARGEST_DISPLAY and shown <= _ALL_DISPLAYS:
            return data
        limits = f"{_LARGEST_DISPLAY:,} characters in a display and {_ALL_DISPLAYS:,} in all of a run"
        return {"text/plain": f"[expected at most {limits}, got {size:,} and {shown:,}; this one is left out]"}

    publish, write = ZMQDisplayPublisher.publish, ZMQShellDisplayHook.write_format_data

    def publish_limited(self: Any, data: dict, *rest: Any, **options: Any) -> None:
        publish(self, limited(data), *rest, **options)

    def write_limited(self: Any, format_dict: dict, *rest: Any) -> None:
        write(self, limited(format_dict), *rest)

    setattr(ZMQDisplayPublisher, "publish", publish_limited)  # noqa: B010 - a plain assignment is a type error
    setattr(ZMQShellDisplayHook, "write_format_data", write_limited)  # noqa: B010


def main() -> None:
    """Be a cold kernel."""
    die_with(int(os.environ["JPY_PARENT_PID"]))
    begin(Path.cwd())
    with contextlib.suppress(KeyboardInterrupt):
        launch(sys.argv[1:])


if __name__ == "__main__":
    main()
