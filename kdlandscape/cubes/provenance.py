"""Where a number came from: code, packages, machine, time and memory."""

import functools
import json
import platform
import re
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

#: name -> (long name, unit) of what is kept for every run.
FACTS: dict[str, tuple[str, str]] = {
    "git_commit": ("commit of the notebook's checkout", "1"),
    "git_dirty": ("tracked files differed from the commit", "1"),
    "notebook_hash": ("hash of the notebook's code", "1"),
    "inputs": ("local modules and files that the run read, and their hashes, JSON", "1"),
    "packages": ("package versions, JSON", "1"),
    "python": ("Python version", "1"),
    "device": ("device that computed", "1"),
    "data": ("revisions of the data sets, JSON", "1"),
    "started_at": ("start of the run, UTC", "1"),
    "wall_time": ("time from start to result", "s"),
    "peak_memory": ("peak resident memory of the kernel", "B"),
}
#: what should be the same for all runs of a cube.
SAME = ("git_commit", "git_dirty", "notebook_hash", "packages", "python", "device", "data")
_data: dict[str, str] = {}


def note_data(name: str, revision: str) -> None:
    """Have the provenance of this process's results say which revision of a data set they come from."""
    _data[name] = revision


def collect(folder: Path | str | None = None) -> dict[str, Any]:
    """Return the facts that hold for this process: commit, packages, Python, peak memory.

    Parameters
    ----------
    folder
        A folder of the checkout whose commit is meant; default: the current one, and the package's if that has none.
    """
    commit, dirty = git_state(Path(folder) if folder is not None else Path.cwd())
    if not commit:
        commit, dirty = git_state(Path(__file__).parent)
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "packages": json.dumps(package_versions(), sort_keys=True),
        "python": platform.python_version(),
        "data": json.dumps(_data, sort_keys=True),
        "peak_memory": peak_memory(),
    }


def git_state(folder: Path) -> tuple[str, bool]:
    """Return the commit of a checkout and whether tracked files differ from it; ("", False) where there is none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        # one call, because it takes as long as all else here; without locks, because parallel runs must not contend
        told = git("--no-optional-locks", "status", "--porcelain=v2", "--branch", "-uno").splitlines()
        commit = next(line.split()[-1] for line in told if line.startswith("# branch.oid "))
        return ("", False) if commit == "(initial)" else (commit, any(not line.startswith("#") for line in told))
    except (OSError, subprocess.SubprocessError):
        return "", False


@functools.cache
def package_versions() -> dict[str, str]:
    """Return the versions of this package and of what it directly depends on, without importing them."""
    names = ["kdlandscape"]
    try:
        for line in metadata.requires("kdlandscape") or []:
            if "extra ==" not in line:
                names += re.findall(r"^[A-Za-z0-9_.-]+", line)
    except metadata.PackageNotFoundError:
        pass
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def peak_memory() -> float:
    """Return the peak resident memory of this process in bytes."""
    try:
        # ru_maxrss would start from the parent's value, because it survives exec
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        if found:
            return 1024.0 * int(found[1])
    except OSError:
        pass
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


class MixedProvenance(UserWarning):
    """The runs of a cube were not all made by the same code on the same kind of machine."""


def mixtures(counts: Mapping[str, Counter]) -> list[str]:
    """Say in which facts runs differ that should be the same; empty if in none.

    Parameters
    ----------
    counts
        Fact -> how many runs have each value.  A difference in package versions is told package by package.
    """
    found = []
    for name, values in counts.items():
        if len(values) > 1:
            found += _package_mixtures(values) if name == "packages" else [_mixture(FACTS[name][0], values)]
    return found


def _mixture(label: str, counts: Counter) -> str:
    shown = ", ".join(f"{value[:12] or 'none'}: {count} runs" for value, count in counts.most_common(4))
    return f"{len(counts)} values of {label} ({shown}{', …' if len(counts) > 4 else ''})"


def _package_mixtures(counts: Counter) -> list[str]:
    versions: dict[str, Counter] = {}
    for text, count in counts.items():
        for package, version in json.loads(text or "{}").items():
            versions.setdefault(package, Counter())[version] += count
    return [_mixture(f"version of {package}", one) for package, one in versions.items() if len(one) > 1]
