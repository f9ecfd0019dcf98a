"""Execute one run: papermill on one notebook, its result checked in only when the whole notebook has passed."""

import json
import logging
import os
import re
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdlandscape.cubes.clock_ahead import followed
from kdlandscape.cubes.files import DiskFullError, is_full, publish, read_error
from kdlandscape.cubes.locks import lock
from kdlandscape.sweeps.job import Job, Outcome, stamp
from kdlandscape.sweeps.notebook import code_hash, parameters_cell
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.places import ROOT_VARIABLE
from kdlandscape.sweeps.processes import end_marked, is_out_of_descriptors
from kdlandscape.sweeps.read_files import add
from kdlandscape.sweeps.values import python_code
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE

OUT_OF_DESCRIPTORS = "OutOfDescriptors"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class NotebookChangedError(RuntimeError):
    """A notebook was edited while its study ran."""


def execute(job: Job) -> Outcome:
    """Execute a job in this process, one at a time, and report; no exception of the run escapes."""
    try:
        with lock(job.claim, wait=False) as ours:
            return _attempt(job) if ours else Outcome(job, busy=True)
    except Exception as error:
        return _failed(job, error)


def settled(job: Job) -> Outcome | None:
    """Return how another driver on the same study has ended a job since this one began; None if none has."""
    if job.result.exists():
        return Outcome(job)
    error = stamp(job.error_record)
    return Outcome(job, read_error(job.error_record)) if error not in (None, job.known_error) else None


def _attempt(job: Job) -> Outcome:
    ended = settled(job)
    if ended is not None:
        return ended
    try:
        _check_code(job)
        for path in job.unfinished_of_all:  # of attempts that were killed
            path.unlink(missing_ok=True)
        _run_notebook(job)
        _keep_notebook(job)
        _check_code(job)
        if not job.unfinished(".nc").exists():
            message = "expected the notebook to call kdlandscape.record(dataset), got to its end without a result"
            return Outcome(job, describe(job, "NotRecorded", message))
        problem = add(_inputs(job), job.study)
        if problem:
            return Outcome(job, describe(job, "InputsChanged", problem))
        publish(job.unfinished(".nc"), job.result)
        return Outcome(job)
    except Exception as error:
        return _failed(job, error)
    finally:
        for suffix in (".nc", ".json", ".log", ".ipynb", ".inputs", ".pid"):  # what has not been published
            job.unfinished(suffix).unlink(missing_ok=True)


def _check_code(job: Job) -> None:
    """Raise if the notebook is not the one any more that the study was planned with."""
    if job.notebook_hash and code_hash(job.notebook) != job.notebook_hash:
        raise NotebookChangedError(
            f"expected the code that {job.notebook.name} had when the study was started, got another one; the same "
            "command again says what can be done"
        )


def _run_notebook(job: Job) -> None:
    from kdlandscape.sweeps.kernel_manager import RunKernelManager, settings

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its warnings are errors of ours, raised at the start
    job.unfinished(".json").write_text(json.dumps(_context(job)), encoding="utf-8")
    job.sockets.mkdir(parents=True, exist_ok=True)  # not there yet where the driver is on another machine
    os.environ[CONTEXT_VARIABLE] = str(job.unfinished(".json"))
    os.environ[ROOT_VARIABLE] = str(job.study.parent)  # a study that the notebook runs lies beside its own
    os.environ["IPYTHONDIR"] = str(job.sockets / "ipython")  # no start-up files of the user
    _inject_exactly()
    RunKernelManager.prepare(job.unfinished(".log"), job.notebook if job.warm else None)
    try:
        with followed(str(job.result)):
            _through_papermill(job, settings(job.sockets / str(os.getpid())), RunKernelManager)
    finally:
        end_processes(job)


def _through_papermill(job: Job, config: Any, manager: type) -> None:
    import papermill

    papermill.execute_notebook(
        _literal(job.notebook),
        _literal(job.unfinished(".ipynb")),
        parameters={**job.run.parameters, **job.injected},
        kernel_name="python3",
        language="python",
        progress_bar=False,
        start_timeout=120,
        iopub_timeout=60,  # 4 seconds are too few on a loaded machine
        execution_timeout=job.cell_limit,
        shutdown_kernel="immediate",
        store_widget_state=False,
        kernel_manager_class=manager,
        config=config,
        # papermill's own cwd= changes the directory of this process
        resources={"metadata": {"path": str(job.notebook.parent)}},
    )


def _inject_exactly() -> None:
    """Have papermill write parameters as they are: its own way makes texts of the keys of a mapping."""
    from papermill.translators import PythonTranslator, papermill_translators

    class Exactly(PythonTranslator):
        translate = staticmethod(python_code)

    papermill_translators.register("python", Exactly)


def _context(job: Job) -> dict[str, Any]:
    """Return what ``record`` has to know in the kernel."""
    known = read_parameters(job.notebook)
    return {
        "run": job.run.id,
        "result": str(job.unfinished(".nc")),
        "coords": job.run.coords,
        "along": job.along,
        "labels": job.labels,
        "vectorized": job.vectorized,
        "given": job.run.parameters,
        "injected": list(job.injected),
        "parameter_names": list(known),
        "parameters_cell": parameters_cell(job.notebook),
        "spec_hash": job.spec_hash,
        "notebook_hash": job.notebook_hash,
        "folder": str(job.notebook.parent),
        "started": time.time(),
    }


def _inputs(job: Job) -> dict[str, str]:
    """Return what the kernel has told that the run read."""
    told = job.unfinished(".inputs")
    return json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}


def _literal(path: Path) -> str:
    """Escape a path, which papermill takes for a format string."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _keep_notebook(job: Job) -> None:
    if job.unfinished(".ipynb").exists():
        publish(job.unfinished(".ipynb"), job.result.with_name(f"{job.run.id}.ipynb"))


def end_processes(job: Job) -> None:
    """End what the run has started and left behind."""
    note = job.unfinished(".pid")
    kernel = int(note.read_text(encoding="utf-8")) if note.exists() else None
    end_marked(job.mark, kernel)
    note.unlink(missing_ok=True)


def _failed(job: Job, error: Exception) -> Outcome:
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from kdlandscape.sweeps.fork_server import ForkServerDiedError

    cell_error = error if isinstance(error, PapermillExecutionError) else None
    if is_full(job.work, error) or (cell_error and cell_error.ename == DiskFullError.__name__):
        return Outcome(job, describe(job, DiskFullError.__name__, str(DiskFullError(job.study))))
    if cell_error:
        _keep_notebook(job)
        trace = "\n".join(cell_error.traceback)
        record = describe(job, cell_error.ename, cell_error.evalue, source=cell_error.source, trace=trace)
        return Outcome(job, record | {"recorded": job.unfinished(".nc").exists()})
    if is_out_of_descriptors(error):
        return Outcome(job, describe(job, OUT_OF_DESCRIPTORS, str(error)))
    if isinstance(error, DeadKernelError | ForkServerDiedError):
        return lost(
            job, "KernelDied", "expected the kernel to live until its notebook ended, but it died (out of memory?)"
        )
    return Outcome(job, describe(job, type(error).__name__, str(error), trace=traceback.format_exc()))


def lost(job: Job, name: str, message: str) -> Outcome:
    """Return the outcome of a job whose process died, with the last lines that its kernel wrote."""
    if not job.attempt:  # it died on a machine of a cluster
        names = [path.name for path in job.unfinished_of_all]
        job = replace(job, attempt=names[-1].rpartition("@")[2].split(".")[0] if names else "")
    end_processes(job)
    _keep_notebook(job)
    log = job.unfinished(".log")
    tail = log.read_text(encoding="utf-8", errors="replace")[-8000:] if log.exists() else ""
    return Outcome(job, describe(job, name, message, trace=tail), lost=True)


def describe(job: Job, name: str, value: str, *, source: str = "", trace: str = "") -> dict[str, Any]:
    """Return an error record."""
    return {
        "run": job.run.id,
        "coords": job.run.coords,
        "name": name,
        "value": _ANSI.sub("", value),
        "source": source,
        "traceback": _ANSI.sub("", trace),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
