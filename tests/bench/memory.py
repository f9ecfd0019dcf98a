"""How much memory this process holds, from what Linux says of it."""

from pathlib import Path

FORGET_PEAK = Path("/proc/self/clear_refs")


def resident(what: str = "VmRSS") -> float:
    """KiB held now (VmRSS) or at most so far (VmHWM); getrusage would count the parent process at its fork."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(what):
            return float(line.split()[1])
    raise RuntimeError(f"expected {what} in /proc/self/status: peak memory is measured on Linux only")


def forget_peak() -> None:
    """Let VmHWM begin anew at what is held now."""
    FORGET_PEAK.write_text("5", encoding="ascii")
