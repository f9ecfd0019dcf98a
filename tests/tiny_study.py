"""A notebook without torch in which, on request, everything goes wrong that can; and a spec beside it."""

import nbformat
from ruamel.yaml import YAML

PARAMETERS = """\
from typing import Literal
seed: int = 0
lam: list[float] = [0.0]
policy: Literal["constant", "scaled"] = "constant"
mode: str = "ok"
folder: str = ""
rate: float = 0.1
width: int | None = None
pair: tuple[int, float] = (1, 2.0)
flag = False
free: "list[str]" = []
table: dict[str, int] = {}
where = print
"""
BODY = """\
import os, signal, sys, time
from pathlib import Path
import numpy as np, xarray as xr
from kdlandscape.sweeps.record import record
place = Path(folder or ".")
first = not (place / f"{mode}{seed}").exists()
(place / f"{mode}{seed}").write_text(str(os.getpid()))
if mode == "kill worker" or mode == "kill worker once" and first:
    os.kill(os.getppid(), signal.SIGKILL); time.sleep(30)
if mode == "kill kernel":
    os.kill(os.getpid(), signal.SIGSEGV)
if mode == "sleep":
    time.sleep(60)
if mode == "fail once" and first or mode == "fail":
    raise RuntimeError("a \\x1b[31mred\\x1b[0m mistake")
"""
RESULT = """\
loss = xr.DataArray(np.array(lam) + seed, dims="lam", attrs={"long_name": "loss", "units": "nat"})
weights = xr.Dataset({"theta": (("lam", "dim"), np.ones((len(lam), 3)))})
if mode != "no record":
    record(xr.Dataset({"loss": loss}, {"lam": np.array(lam, np.float32)}, {"device": "cpu"}), checkpoints=weights)
if mode == "twice":
    record(xr.Dataset({"loss": loss}, {"lam": lam}))
"""
CHECK = 'assert mode != "late failure", "the check failed"'


def write_notebook(path, parameters=PARAMETERS, *cells, tags=("parameters",)):
    cells = cells or (BODY, RESULT, CHECK)
    nodes = [nbformat.v4.new_code_cell(parameters, metadata={"tags": list(tags)})]
    nodes += [nbformat.v4.new_code_cell(cell) for cell in cells]
    for i, node in enumerate(nodes):
        node["id"] = f"cell-{i}"
    nbformat.write(nbformat.v4.new_notebook(cells=nodes), path)
    return path


def write_spec(folder, **changes):
    """Write a notebook and a spec beside it; return the spec's path."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tiny.ipynb").exists():
        write_notebook(folder / "tiny.ipynb")
    content = {"study": "tiny", "notebook": "tiny.ipynb", "grid": {"seed": [0, 1]}, **changes}
    path = folder / "tiny.yaml"
    content = {key: value for key, value in content.items() if value is not None}
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output = False, False
    yaml.dump(content, path)
    return path
