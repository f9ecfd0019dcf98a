"""Every notebook and every page with code is executed once, at a small size or at its own, and kept."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

import kdlandscape as kdl
from kdlandscape.cubes.locks import lock
from kdlandscape.sweeps.kernel_manager import RunKernelManager, settings
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE
from tests.site.sizes import SMALL, SMALL_STUDIES
from tests.synthetic import demo_cube

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


class Executions:
    """The executed notebooks and studies of one build or one run of the tests, in a folder.

    Each is made when it is first asked for, by whichever process asks first; others wait for it. Kernels are forked
    from one process that has done the imports; use an object with ``with``, which ends that process.

    Parameters
    ----------
    folder
        Where they go.
    full
        Execute at the notebooks' own size: hours. Otherwise at the small size of the tests.
    """

    def __init__(self, folder: Path, *, full: bool = False):
        self.folder, self.full = folder, full
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Executions":
        self._place = tempfile.TemporaryDirectory(prefix="kdl-")  # its path is short, as those of sockets must be
        return self

    def __exit__(self, *_: object) -> None:
        RunKernelManager.prepare(Path(os.devnull), None)
        self._place.cleanup()

    def study(self, name: str) -> Path:
        """Return the folder of a study after its runs: the shipped spec in full, or a few small runs."""
        root = self.folder / "studies"
        with lock(self.folder / f"{name}.lock"):
            if not (root / name / "cube.nc").is_file():
                spec, workers = (name, 2) if self.full else (SMALL_STUDIES[name], 1)
                kdl.run_study(spec, root=root, workers=workers, warm=True, progress=False)
        return root / name

    def notebook(self, name: str) -> Path:
        """Return an executed notebook: a run of its study where there is one, or else the notebook by hand."""
        studies = {"distill_init.ipynb": "demo", "basins.ipynb": "basins"}
        if name in studies:
            return min((self.study(studies[name]) / "runs").glob("*.ipynb"))
        target = self.folder / name
        with lock(self.folder / f"{name}.lock"):
            if not target.is_file():
                self._by_hand(name, target)
        return target

    def page(self, notebook: nbformat.NotebookNode, folder: Path) -> None:
        """Execute a notebook in place, in a folder of its own, with pictures that are sharp on a page."""
        folder.mkdir(parents=True, exist_ok=True)
        with _forked_kernels(Path(self._place.name)) as configuration:
            notebook.cells.insert(0, nbformat.v4.new_code_cell(_FIRST))
            client = NotebookClient(
                notebook,
                timeout=600,
                kernel_manager_class=RunKernelManager,
                config=configuration,
                resources={"metadata": {"path": str(folder)}},
                shutdown_kernel="immediate",
            )
            try:
                client.execute()
            finally:
                del notebook.cells[0]

    def _by_hand(self, name: str, target: Path) -> None:
        parameters = {"study": str(self.study("demo"))} if name in ("gallery.ipynb", "explore.ipynb") else {}
        if name == "claims.ipynb":
            parameters = {"studies": ["demo"], "root": str(self.folder / "studies")}
        if not self.full:
            self._small_cube()
            parameters = SMALL[name]
        notebook = parameterize_notebook(load_notebook_node(str(NOTEBOOKS / name)), parameters)
        self.page(notebook, self.folder)
        unfinished = target.with_name(f"unfinished-{name}")
        nbformat.write(notebook, unfinished)
        unfinished.replace(target)

    def _small_cube(self) -> None:
        with lock(self.folder / "cube.lock"):
            if not (self.folder / "cube.nc").is_file():
                cube = demo_cube()
                cube.assign(student_accuracy=0.5 * cube["agreement"]).to_netcdf(self.folder / "cube.nc")


@contextmanager
def _forked_kernels(place: Path) -> Iterator:
    """Give the configuration of kernels that are forked after the imports; the process that forks them stays."""
    (place / "context.json").write_text(json.dumps({"parameters_cell": "", "parameter_names": []}))
    if not (place / "imports.ipynb").is_file():
        nbformat.write(_imports(), place / "imports.ipynb")
    before = {name: os.environ.get(name) for name in (CONTEXT_VARIABLE, "IPYTHONDIR")}
    os.environ |= {CONTEXT_VARIABLE: str(place / "context.json"), "IPYTHONDIR": str(place / "ipython")}
    try:
        RunKernelManager.prepare(place / "kernel.log", place / "imports.ipynb")
        yield settings(place / "k")
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


#: The reader's kernel knows of no run, and its pictures are sharp.
_FIRST = f"""\
import os as _os
_os.environ.pop("{CONTEXT_VARIABLE}", None)
%config InlineBackend.figure_format = "retina"
"""


def _imports() -> nbformat.NotebookNode:
    wanted = ["torch", "matplotlib.pyplot", "kdlandscape.landscape.objective", "kdlandscape.distillation.training"]
    wanted += ["kdlandscape.landscape.slices", "kdlandscape.landscape.curvature.questions", "kdlandscape.figures.lines"]
    source = "\n".join(f"import {name}" for name in wanted)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
