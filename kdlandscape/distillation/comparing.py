"""What the command ``compare`` gives its notebook: checked before a study is made, and without a working folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlandscape.distillation.loaded import Loaded, load_networks, named_places, place_of
from kdlandscape.distillation.problems import problem as make
from kdlandscape.distillation.weight_files import digest_of

_LONGEST = 100  # letters of a study's name


def arguments(problem: str, checkpoints: Sequence[str], control: str, networks: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the notebook, with paths that hold wherever a run works.

    Raises
    ------
    CheckpointError
        As `kdlandscape.distillation.loaded.named_places` does.
    """
    places = named_places(checkpoints, control)
    whole = [f"{name}={place.path}{place.choice and '#'}{place.choice}" for name, place in places.items()]
    named = ":" in problem and not problem.startswith(("hub:", "parquet:"))
    given: dict[str, Any] = {"problem": _absolute(problem)} if named else {"data_set": problem}
    given["checkpoints"] = whole[: len(checkpoints)]
    if control:
        given["control"] = whole[-1].partition("=")[2]
    if networks:
        given["networks"] = [
            f"{name}={_absolute(place)}" for name, _, place in (text.partition("=") for text in networks)
        ]
    return given


def study_name(checkpoints: Sequence[str]) -> str:
    """Return the name of a study from those of its networks."""
    names = [place_of(text).name for text in checkpoints]
    return re.sub(r"[^A-Za-z0-9_.+=-]", "-", "_".join(["compare", *names]))[:_LONGEST]


def check(settings: Mapping[str, Any]) -> tuple[list[Loaded], list[str]]:
    """Load everything that a comparison needs once; return the networks, and the digests of what they came from.

    Parameters
    ----------
    settings
        Parameters of the notebook.

    Returns
    -------
    networks, digests
        Those of the checkpoints in order, of the control, and of the files that hold the problem and the architectures.

    Raises
    ------
    ProblemError
        A problem that cannot be made, or checkpoints that do not fit it, all of them in one message.
    """
    of_ours = {name: settings[name] for name in ("network", "width", "depth", "norm") if name in settings}
    own = settings.get("problem", "")
    problem = make(own or settings["data_set"], options=settings.get("options", {}), **of_ours)
    control, networks = settings.get("control", ""), settings.get("networks", [])
    loaded = load_networks(problem, settings["checkpoints"], control=control, networks=networks)
    code = [own, *(text.partition("=")[2] for text in networks)]
    files = [Path(text.rpartition(":")[0]) for text in code if text.rpartition(":")[0].endswith(".py")]
    return loaded, [*(one.digest for one in loaded), *map(digest_of, files)]


def _absolute(function: str) -> str:
    """Return a function of a file under the file's absolute path; what is no file stays as it is."""
    place, _, name = function.rpartition(":")
    return f"{Path(place).expanduser().resolve()}:{name}" if place.endswith(".py") else function
