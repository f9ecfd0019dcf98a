"""Start a study of one's own from a shipped one, or a shipped one on a problem of one's own."""

import json
import re
import shutil
from pathlib import Path

from kdlandscape.sweeps.axis_labels import registered_labels
from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.includes import read_mapping
from kdlandscape.sweeps.loading import make_spec
from kdlandscape.sweeps.parameters import read_parameters
from kdlandscape.sweeps.places import find_notebook, find_spec

_PROBLEM = '''\
"""A problem of your own: change the network, the loss and the data."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import kdlandscape as kdl


def make(width: int = 16):  # an option of the study: -p options.width=8, or as an axis -g options.width=8,16
    images, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(images).float().div(16).view(-1, 1, 8, 8), torch.tensor(digits)

    def network():  # draws fresh initial weights at every call, as usual
        return nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9 * width, 10))

    # More that a problem may bring: loss, metrics, a training loop of its own (fit), inputs to distil on, and what of
    # the network's output counts. python -c "import kdlandscape; help(kdlandscape.Problem)"
    return kdl.Problem(network=network, train=(x[:1200], y[:1200]), test=(x[1200:], y[1200:]))
'''
_SPEC = """\
# The study {template} on a problem of your own, the function make in {name}.py.
study: {name}
include: {template}.yaml
parameters:
  problem: {name}.py:make
"""


def new_study(name: str, template: str = "demo", folder: Path | str = ".") -> list[Path]:
    """Copy a shipped spec and its notebook into a folder under a new name, to be changed; return both paths.

    Parameters
    ----------
    name
        Of the new study: the spec becomes ``name.yaml``, the notebook ``name.ipynb``.
    template
        A spec, or the name of a shipped one.
    folder
        Where to write; made if it does not exist.

    Raises
    ------
    SpecError
        If the name is no plain file name, the template does not exist, or a file is there already.
    """
    spec, folder = find_spec(template), Path(folder)
    content = read_mapping(spec)
    make_spec({**content, "study": name}, beside=spec.parent)
    notebook = find_notebook(content["notebook"], spec.parent)
    targets = _free(folder, f"{name}.yaml", f"{name}.ipynb")
    text = spec.read_text(encoding="utf-8")
    for key, value in (("study", name), ("notebook", f"{name}.ipynb")):
        text = re.sub(rf"^{key}:.*$", f"{key}: {value}", text, count=1, flags=re.M)
    words = registered_labels(notebook.name)
    named = [f"  {axis}: {json.dumps(words[axis], ensure_ascii=False)}" for axis in content["grid"] if axis in words]
    if named and "labels" not in content:
        text = "\n".join([text.rstrip("\n"), "labels:", *named, ""])
    folder.mkdir(parents=True, exist_ok=True)
    targets[0].write_text(text, encoding="utf-8")
    shutil.copyfile(notebook, targets[1])
    return targets


def new_problem(name: str, template: str = "demo", folder: Path | str = ".") -> list[Path]:
    """Write a problem to start from, and a spec of a shipped study on it, which runs as it is; return both paths.

    Parameters
    ----------
    name
        Of the new study: the spec becomes ``name.yaml``, the problem ``name.py``.
    template
        The name of a shipped spec, whose notebook takes a problem.
    folder
        Where to write; made if it does not exist.

    Raises
    ------
    SpecError
        If the name is no plain file name, there is no such spec or its notebook takes no problem, or a file is there
        already.
    """
    spec, folder = find_spec(template), Path(folder)
    content = read_mapping(spec)
    parameters = read_parameters(find_notebook(content["notebook"], spec.parent))
    if "problem" not in parameters:
        raise SpecError(
            f"new: expected a study whose notebook has the parameter problem, got {spec.stem}, which has none"
        )
    make_spec({**content, "study": name}, beside=spec.parent)
    targets = _free(folder, f"{name}.yaml", f"{name}.py")
    folder.mkdir(parents=True, exist_ok=True)
    targets[0].write_text(_SPEC.format(name=name, template=spec.stem), encoding="utf-8")
    targets[1].write_text(_PROBLEM, encoding="utf-8")
    return targets


def _free(folder: Path, *names: str) -> list[Path]:
    targets = [folder / name for name in names]
    for target in targets:
        if target.exists():
            raise SpecError(f"new: expected a name that is free, got {target}, which exists; choose another")
    return targets
