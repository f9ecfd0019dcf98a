"""Every notebook and every page with code is executed once, at a small size or at its own, and kept."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import nbformat
import papermill
from nbclient import NotebookClient

import kdlandscape as kdl
from kdlandscape.sweeps.kernel_manager import RunKernelManager, settings
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE
from tests.site.sizes import SMALL, SMALL_STUDIES
from tests.synthetic import demo_cube

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


class Executions:
    """The executed notebooks, studies and pages of one build, in a folder; each is made when it is first asked for.

    Parameters
    ----------
    folder
        Where they go.
    full
        Execute at the notebooks' own size: hours. Otherwise at the small size of the tests.
    """

    def __init__(self, folder: Path, *, full: bool = False):
        self.folder, self.full = folder, full

    def study(self, name: str) -> Path:
        """Return the folder of a study after its runs: the shipped spec in full, or a few small runs."""
        root = self.folder / "studies"
        if not (root / name / "cube.nc").is_file():
            spec = name if self.full else SMALL_STUDIES[name]
            kdl.run_study(spec, root=root, workers=2, warm=True, progress=False)
        return root / name

    def notebook(self, name: str) -> Path:
        """Return an executed notebook: a run of its study where there is one, or else the notebook by hand."""
        studies = {"distill_init.ipynb": "demo", "basins.ipynb": "basins"}
        if name in studies:
            return min((self.study(studies[name]) / "runs").glob("*.ipynb"))
        target = self.folder / name
        if not target.is_file():
            self._by_hand(name, target)
        return target

    def _by_hand(self, name: str, target: Path) -> None:
        parameters = {"study": str(self.study("demo"))} if name in ("gallery.ipynb", "explore.ipynb") else {}
        if name == "claims.ipynb":
            parameters = {"studies": ["demo"], "root": str(self.folder / "studies")}
        if not self.full:
            self._small_cube()
            parameters = SMALL[name]
        unfinished = target.with_name(f"unfinished-{name}")
        papermill.execute_notebook(
            NOTEBOOKS / name, unfinished, parameters, kernel_name="python3", progress_bar=False, cwd=self.folder
        )
        unfinished.replace(target)

    def _small_cube(self) -> None:
        if not (self.folder / "cube.nc").is_file():
            cube = demo_cube()
            cube.assign(student_accuracy=0.5 * cube["agreement"]).to_netcdf(self.folder / "cube.nc")


def execute_pages(pages: dict[Path, nbformat.NotebookNode]) -> dict[Path, float]:
    """Execute notebooks in place, each in a kernel of its own that is forked after the imports; return seconds.

    Parameters
    ----------
    pages
        Folder to execute in, for each notebook.
    """
    import time

    took = {}
    with tempfile.TemporaryDirectory(prefix="kdl-") as short:
        place = Path(short)
        (place / "context.json").write_text(json.dumps({"parameters_cell": "", "parameter_names": []}))
        before = {name: os.environ.get(name) for name in (CONTEXT_VARIABLE, "IPYTHONDIR")}
        os.environ |= {CONTEXT_VARIABLE: str(place / "context.json"), "IPYTHONDIR": str(place / "ipython")}
        nbformat.write(_imports(), place / "imports.ipynb")
        try:
            for folder, notebook in pages.items():
                started = time.perf_counter()
                _execute(notebook, folder, place)
                took[folder] = time.perf_counter() - started
        finally:
            RunKernelManager.prepare(place / "kernel.log", None)
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    return took


def _execute(notebook: nbformat.NotebookNode, folder: Path, place: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    RunKernelManager.prepare(place / "kernel.log", place / "imports.ipynb")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_FIRST))
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_manager_class=RunKernelManager,
        config=settings(place / "k"),
        resources={"metadata": {"path": str(folder)}},
        shutdown_kernel="immediate",
    )
    try:
        client.execute()
    finally:
        del notebook.cells[0]


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


def forget(folder: Path) -> None:
    """Remove what was executed."""
    shutil.rmtree(folder, ignore_errors=True)
