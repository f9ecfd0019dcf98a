"""All the GPU work in one command: ``python -m tests.bench.gpu``.

Each part writes its table as it comes, and a command that is run again measures only what is missing: a row that is
done stays, one that failed is tried again. ``--minutes`` ends it between two rows.
"""

import argparse
import time
import warnings
from pathlib import Path

import torch

from tests.bench.gpu import fig6b, planes, products, students, study, suite
from tests.bench.gpu.ledger import Ledger, Setting, measure

PARTS = {
    "suite": suite.PART,
    "products": products.PART,
    "planes": planes.PART,
    "students": students.PART,
    "study": study.PART,
    "fig6b": fig6b.PART,
}
RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing of the chosen parts, until the time is up."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="by comma; default: all of them")
    parser.add_argument("--minutes", type=float, default=25.0, help="after which no row is begun")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the size of a test: no number means anything")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the rows, the page and the studies")
    parser.add_argument("--data-set", default="hub:cifar10", help="of Fig. 6b, such as parquet:FOLDER")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--parts: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a GPU, got none that torch can use; --device cpu --tiny tries the command without one")
    warnings.simplefilter("ignore")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    chosen.folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * chosen.minutes
    setting = Setting(chosen.device, chosen.folder.absolute(), chosen.tiny, chosen.data_set, end)
    ledger = Ledger(setting.folder / "gpu.jsonl", setting.machine)
    for name in chosen.parts.split(","):
        done = measure(name, PARTS[name], setting, ledger)
        print(f"{name}: {len(ledger.of(name))} rows, {'done' if done else 'not complete'}", flush=True)
    print(f"{setting.folder / 'gpu.md'}, {max(setting.left, 0) / 60:.1f} minutes left")


if __name__ == "__main__":
    main()
