"""Studies whose notebooks are executed in the test's own process: real drivers, claims, files and cubes, no kernels."""

import contextlib
import json
import os
import sys

from kdlandscape.sweeps import execute, study, witness
from kdlandscape.sweeps.notebook import code_cells
from kdlandscape.sweeps.record import record  # noqa: F401 - imported before a witness looks
from kdlandscape.sweeps.values import python_code


class Shell:
    """What `witness.watch_defaults` needs of IPython."""

    def __init__(self):
        self.user_ns, self.events, self.callbacks = {"In": []}, self, []

    def register(self, _, callback):
        self.callbacks.append(callback)

    def unregister(self, _, callback):
        self.callbacks.remove(callback)

    def run(self, source):
        self.info, self.raw_cell = self, source
        self.user_ns["In"].append(source)
        exec(compile(source, "<cell>", "exec"), self.user_ns)
        for callback in list(self.callbacks):
            callback(self)


def run_notebook(job):
    """Execute the cells of a job's notebook here, as a kernel would."""
    context = job.unfinished(".json")
    about, cells = execute._context(job), code_cells(job.notebook)
    context.write_text(json.dumps(about), encoding="utf-8")
    os.environ[witness.CONTEXT_VARIABLE] = str(context)
    before, path, shell = set(sys.modules), list(sys.path), Shell()
    with contextlib.chdir(job.notebook.parent):
        try:
            sys.path.insert(0, "")
            witness.begin(job.notebook.parent)
            witness.watch_defaults(shell, about["parameters_cell"], about["parameter_names"])
            given = {**job.run.parameters, **job.injected}
            for cell in cells:
                shell.run(cell["source"])
                if "parameters" in cell["tags"]:
                    shell.run("\n".join(f"{name} = {python_code(value)}" for name, value in given.items()))
        finally:
            witness._here._thread.is_reading = True  # an audit hook stays; this one has seen its run
            witness._here = None
            witness._shell = None
            witness._defaults.clear()
            sys.path[:] = path
            del os.environ[witness.CONTEXT_VARIABLE]
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(job.notebook.parent)):
                    del sys.modules[name]


def execute_inline(patch):
    """Have `run_study` execute its runs in this process, with a `pytest.MonkeyPatch`."""

    def engine(jobs):
        for job in jobs:
            yield execute.execute(job)

    patch.setattr(study, "_engine", lambda *_: engine)
    patch.setattr(execute, "_run_notebook", run_notebook)
    patch.setattr(sys, "dont_write_bytecode", True)  # a module that changes twice in a second has to be read again
