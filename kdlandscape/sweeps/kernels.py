"""A kernel for one run: reached through a socket file instead of a TCP port, and dead as soon as its worker is.

Run as a module this file is the kernel's own main program.
"""

import contextlib
import faulthandler
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from traitlets.config import Config

from kdlandscape.sweeps.processes import die_with
from kdlandscape.sweeps.warm import ForkedProvisioner, ForkServer

_LONGEST_OUTPUT = 1_000_000  # characters of each stream that an executed notebook keeps


class RunKernelManager(AsyncKernelManager):
    """Starts this interpreter's ipykernel, whatever kernels are registered, with its error stream in a file."""

    log_file: ClassVar[Path] = Path(os.devnull)
    server: ClassVar[ForkServer | None] = None

    @classmethod
    def prepare(cls, log_file: Path, warm: Path | None) -> None:
        """Say where the next kernel's error stream goes, and which notebook's imports it begins with, if any."""
        cls.log_file = log_file
        if cls.server is not None and not (warm is not None and cls.server.fits(warm)):
            cls.server.end()
            cls.server = None
        if warm is not None and cls.server is None:
            cls.server = ForkServer(warm)

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command of the kernel; -P keeps the notebook's folder from shadowing modules at start."""
        command = [sys.executable, "-P", "-m", "kdlandscape.sweeps.kernels", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="kdlandscape", language="python")

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start the kernel."""
        if self.server is not None and self.provisioner is None:
            self.provisioner = ForkedProvisioner(parent=self, kernel_spec=self.kernel_spec, kernel_id="warm")
            self.provisioner.server, self.provisioner.log_file = self.server, self.log_file
        with self.log_file.open("wb") as errors:
            await super().start_kernel(**options, stdout=errors, stderr=errors)


def settings(sockets: Path) -> Config:
    """Return the configuration of a kernel manager whose socket files begin with the path ``sockets``."""
    # ports of parallel kernels race; socket paths do not, but may hold about 100 characters
    return Config(
        RunKernelManager={"transport": "ipc", "ip": str(sockets), "connection_file": f"{sockets}.json"},
    )


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
