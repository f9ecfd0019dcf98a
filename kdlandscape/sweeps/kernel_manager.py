"""The worker's side of a kernel for one run: started or forked, and reached through a socket file instead of a port."""

import asyncio
import contextlib
import os
import queue
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import LocalProvisioner
from traitlets.config import Config

from kdlandscape.sweeps.fork_server import ForkServer

_START_TIMEOUT = 120.0  # seconds


class PromptProvisioner(LocalProvisioner):
    """Starts a new interpreter, and notices at once when it has ended."""

    async def wait(self) -> int | None:
        """Wait for the end; a kill takes milliseconds, and the class above would look ten times a second."""
        while await self.poll() is None:
            await asyncio.sleep(0.002)
        return await super().wait()


class ForkedProvisioner(PromptProvisioner):
    """Gives a kernel manager a forked kernel instead of a new interpreter."""

    server: ForkServer
    log_file: Path

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Fork the kernel that ``cmd`` would start."""
        arguments = cmd[cmd.index("-f") :]
        kernel: Any = self.server.fork(arguments, options["env"], options.get("cwd"), self.log_file)
        self.process = kernel
        self.pid = self.pgid = kernel.pid
        return self.connection_info


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
        command = [sys.executable, "-P", "-m", "kdlandscape.sweeps.kernel", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="kdlandscape", language="python")

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start the kernel."""
        facts = {"parent": self, "kernel_spec": self.kernel_spec, "kernel_id": "run"}
        if self.server is None:
            self.provisioner = PromptProvisioner(**facts)
        else:
            self.provisioner = ForkedProvisioner(**facts)
            self.provisioner.server, self.provisioner.log_file = self.server, self.log_file
        with self.log_file.open("wb") as errors:
            await super().start_kernel(**options, stdout=errors, stderr=errors)
        self.log_file.with_suffix(".pid").write_text(str(self.provisioner.pid), encoding="utf-8")
        # ZeroMQ would look for the sockets ten times a second; the kernel makes that of the heartbeat last
        heartbeat, deadline = Path(f"{self.ip}-{self.hb_port}"), time.monotonic() + _START_TIMEOUT
        while not heartbeat.exists() and time.monotonic() < deadline and await self.is_alive():
            await asyncio.sleep(0.002)


class RunKernelClient(AsyncKernelClient):
    """A client that knows when a kernel is ready, instead of waiting 0.2 seconds for a message that does not come."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel has answered on both channels; RuntimeError if it dies or takes longer than allowed."""
        deadline = time.monotonic() + (timeout or _START_TIMEOUT)
        while True:
            request = self.kernel_info()
            with contextlib.suppress(queue.Empty):
                reply = await self._after(request, self.get_shell_msg, "kernel_info_reply", 1.0)
                self._handle_kernel_info_reply(reply)
                await self._after(request, self.get_iopub_msg, "idle", 0.2)
                return
            if not await self._async_is_alive():
                raise RuntimeError("expected the kernel to start, but it died")
            if time.monotonic() > deadline:
                raise RuntimeError(f"expected the kernel to start within {timeout} seconds, got no answer")

    async def _after(self, request: str, get: Callable, kind: str, patience: float) -> dict[str, Any]:
        """Return the message of a kind that follows a request, and drop those before it."""
        while True:
            message = await get(timeout=patience)
            told = message["content"].get("execution_state", message["msg_type"])
            if message["parent_header"].get("msg_id") == request and told == kind:
                return message


def settings(sockets: Path) -> Config:
    """Return the configuration of a kernel manager whose socket files begin with the path ``sockets``."""
    # ports of parallel kernels race; socket paths do not, but may hold about 100 characters
    return Config(
        RunKernelManager={
            "transport": "ipc",
            "ip": str(sockets),
            "connection_file": f"{sockets}.json",
            "client_class": f"{__name__}.RunKernelClient",
        },
    )
