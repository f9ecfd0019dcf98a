"""``python -m tests.site [OUT] [--full]`` builds the site, offline; small, unless told otherwise."""

import argparse
import time
from pathlib import Path

from tests.site.build import build
from tests.site.executions import ROOT, Executions


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m tests.site", description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build" / "site", help="default: build/site")
    parser.add_argument("--full", action="store_true", help="execute the notebooks at their own size: hours")
    given = parser.parse_args()
    started = time.perf_counter()
    out = given.out.absolute()
    with Executions(out / "executed", full=given.full) as executions:
        pages, seconds = build(executions, out)
    for page, took in seconds.items():
        print(f"{took:6.1f} s  {page}")
    print(f"{time.perf_counter() - started:6.1f} s  {pages / 'index.html'}")


if __name__ == "__main__":
    main()
