"""What the axes of a study are, in words: by its spec, or by the vocabularies that packages register."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from kdlandscape.registry import load, registered
from kdlandscape.sweeps.spec import Spec

_WITH_UNIT = re.compile(r"(?P<words>.*\S)\s*\[(?P<unit>[^\[\]]+)\]\s*")


class UnreadLabels(UserWarning):
    """The vocabulary of another package cannot be read."""


def axis_labels(spec: Spec) -> dict[str, dict[str, str]]:
    """Return ``long_name`` and ``units`` of those axes of a study for which its spec or a vocabulary has words.

    A vocabulary takes the name of a notebook's file and returns the labels of its parameters: words, and in brackets
    the unit. What the spec says under ``labels`` counts first.

    Warns
    -----
    UnreadLabels
        If a vocabulary cannot be read: its words are missing, and nothing else.
    """
    found = {**registered_labels(Path(spec.facts.notebook_path).name), **spec.labels}
    return {name: label(found[name]) for name in spec.grid if name in found}


def registered_labels(notebook: str) -> dict[str, str]:
    """Return the labels of a notebook's parameters by all registered vocabularies."""
    found: dict[str, str] = {}
    for name in registered("labels"):
        try:
            words: Mapping[str, str] = load("labels", name)(notebook)
            found |= {str(key): str(text) for key, text in words.items()}
        except Exception as error:  # of any package that is installed here, asked for or not
            message = f"labels: expected the vocabulary {name!r} to be read, got {type(error).__name__}: {error}"
            warnings.warn(message, UnreadLabels, stacklevel=2)
    return found


def label(text: str) -> dict[str, str]:
    """Return the attributes that a label such as ``learning rate [1/step]`` stands for."""
    match = _WITH_UNIT.fullmatch(text)
    return {"long_name": match["words"], "units": match["unit"]} if match else {"long_name": text, "units": "1"}
