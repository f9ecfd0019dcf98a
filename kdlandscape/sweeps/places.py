"""Where notebooks, specs and studies live: in a checkout, in an installed wheel, or where the user says."""

import hashlib
import os
from pathlib import Path

from kdlandscape.cubes.clock_ahead import journal
from kdlandscape.cubes.locks import lock
from kdlandscape.nearest import did_you_mean, listed
from kdlandscape.sweeps.errors import SpecError, StudyError

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT_VARIABLE = "KDLANDSCAPE_RUNS"


def checkout() -> Path | None:
    """Return the checkout that this package is imported from; None for an installed wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "notebooks").is_dir() else None


def shipped(kind: str) -> Path:
    """Return the folder ``notebooks`` or ``papermill_runs`` of the checkout, or the wheel's copy of it."""
    root = checkout()
    return root / kind if root else _PACKAGE / "templates" / kind


def find_notebook(name: str, beside: Path | None = None) -> Path:
    """Return the absolute path of a notebook: absolute, beside its spec, or shipped; SpecError if there is none."""
    folders = [folder for folder in (beside, shipped("notebooks")) if folder is not None]
    for path in [Path(name)] if Path(name).is_absolute() else [folder / name for folder in folders]:
        if path.is_file():
            return path.resolve()
    known = {path.name for folder in folders for path in folder.glob("*.ipynb")}
    places = " or ".join(map(str, folders))
    raise SpecError(
        f"notebook: expected a notebook in {places}, got {name!r}, which does not exist.{did_you_mean(name, known)}"
    )


def find_spec(name: str | Path) -> Path:
    """Return the path of a spec: a file, or the name of a shipped one (``demo`` or ``demo.yaml``)."""
    shipped_specs = shipped("papermill_runs")
    candidates = [Path(name), shipped_specs / f"{name}", shipped_specs / f"{name}.yaml"]
    for path in candidates:
        if path.is_file():
            return path.resolve()
    known = [path.name for path in shipped_specs.glob("*.yaml")] + [path.name for path in Path().glob("*.yaml")]
    raise SpecError(f"spec: expected a YAML file, got {str(name)!r}, which does not exist.{did_you_mean(name, known)}")


def studies_root(root: Path | str | None = None) -> Path:
    """Return the folder that studies are written to.

    In this order: ``root``, the variable ``KDLANDSCAPE_RUNS``, the checkout's ``papermill_runs``, ``./papermill_runs``.
    In a trial, a folder in the trial's own that stands for it.
    """
    if root is not None and not str(root).strip():
        raise SpecError(f"root: expected a folder for studies, got {str(root)!r}")
    if root is None:
        root = os.environ.get(ROOT_VARIABLE) or (shipped("papermill_runs") if checkout() else "papermill_runs")
    folder = Path(root).absolute()
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"root: expected a folder for studies, got {folder}, which is none")
    own = journal()
    return folder if own is None or own.parent in folder.parents else _stand_in(folder, own)


def _stand_in(root: Path, own: Path) -> Path:
    """Return a trial's folder for studies, where each has the results that it has under a root, as links."""
    place = own.with_name("roots") / hashlib.sha256(str(root).encode()).hexdigest()[:24]
    place.parent.mkdir(exist_ok=True)
    with lock(place.with_suffix(".lock")):
        if not place.exists():
            place.mkdir()
            for found in [*root.glob("*/spec.yaml"), *root.glob("*/*/spec.yaml")]:  # some lie in a folder of their own
                folder = place / found.parent.relative_to(root)
                for kind in ("runs", "errors"):
                    (folder / kind).mkdir(parents=True)
                    for path in (found.parent / kind).glob("*"):
                        (folder / kind / path.name).symlink_to(path)
                (folder / "spec.yaml").write_bytes(found.read_bytes())
    return place


def find_study(name: str | Path, root: Path | str | None = None) -> Path:
    """Return a study's folder, given the folder or its name under the root."""
    under = studies_root(root)
    if not str(name).strip():
        raise StudyError(f"study: expected a study's folder or its name under {under}, got {str(name)!r}")
    for folder in (Path(name).absolute(), under / name):
        if (folder / "spec.yaml").is_file():
            return folder
    known = sorted(path.parent.name for path in under.glob("*/spec.yaml"))
    raise StudyError(
        f"study: expected a study's folder or its name under {under} ({listed(known)}), got {str(name)!r}."
        f"{did_you_mean(name, known)}"
    )
