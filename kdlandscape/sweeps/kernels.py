"""A kernel for one run: reached through a socket file instead of a TCP port, and dead as soon as its worker is.

Run as a module this file is the kernel's own main program.
"""

import ctypes
import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from traitlets.config import Config

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the operating system kill this process when its parent ends, however that ends; exit if it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)


class RunKernelManager(AsyncKernelManager):
    """Starts this interpreter's ipykernel, whatever kernels are registered, with its error stream in a file."""

    errors: IO | None = None

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command of the kernel; -P keeps the notebook's folder from shadowing modules at start."""
        command = [sys.executable, "-P", "-m", "kdlandscape.sweeps.kernels", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="kdlandscape", language="python")

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start the kernel."""
        await super().start_kernel(**options, stdout=type(self).errors, stderr=type(self).errors)


def settings(sockets: Path) -> Config:
    """Return the configuration of a kernel manager whose socket files begin with the path ``sockets``."""
    # ports of parallel kernels race; socket paths do not, but may hold about 100 characters
    return Config(
        RunKernelManager={"transport": "ipc", "ip": str(sockets), "connection_file": f"{sockets}.json"},
    )


def main() -> None:
    """Be a kernel."""
    die_with(int(os.environ["JPY_PARENT_PID"]))
    # a copy of the error stream, because ipykernel redirects the stream itself: a crash leaves its traceback in the log
    faulthandler.enable(os.dup(2))
    from ipykernel.kernelapp import IPKernelApp

    IPKernelApp.launch_instance()


if __name__ == "__main__":
    main()
