"""Start a study of one's own from a shipped one."""

import re
import shutil
from pathlib import Path

from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.includes import read_mapping
from kdlandscape.sweeps.places import find_notebook, find_spec
from kdlandscape.sweeps.spec import make_spec


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
    targets = [folder / f"{name}.yaml", folder / f"{name}.ipynb"]
    for target in targets:
        if target.exists():
            raise SpecError(f"new: expected a name that is free, got {target}, which exists; choose another")
    text = spec.read_text(encoding="utf-8")
    for key, value in (("study", name), ("notebook", f"{name}.ipynb")):
        text = re.sub(rf"^{key}:.*$", f"{key}: {value}", text, count=1, flags=re.M)
    folder.mkdir(parents=True, exist_ok=True)
    targets[0].write_text(text, encoding="utf-8")
    shutil.copyfile(notebook, targets[1])
    return targets
