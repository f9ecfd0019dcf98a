"""Checkpoints on disk as nested mappings of tensors: read without running anything that a file brings."""

import argparse
import hashlib
import json
import pathlib
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdlandscape.distillation.problem_files import ProblemError
from kdlandscape.nearest import did_you_mean, listed

CONFIG = "config.json"  # of a folder of `transformers`
_SINGLE = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")
# What trainers file beside the weights, and holds no code: settings, paths, the best accuracy as a numpy number.
_NUMBERS = (np.float64(0).__reduce__()[0], np.dtype, *(type(np.dtype(letter)) for letter in "efdilq?"))
_HARMLESS: list[Any] = [argparse.Namespace, pathlib.PosixPath, *_NUMBERS]


class CheckpointError(ProblemError):
    """A checkpoint that cannot be read, or that holds no weights of the network."""


def read_weights(path: Path) -> Any:
    """Return what a checkpoint holds: tensors by name, perhaps inside further mappings.

    Parameters
    ----------
    path
        A ``.safetensors`` file; a file of ``torch.save``, which is loaded as weights only; or a folder with such files
        as ``transformers`` and ``accelerate`` write it, in one part or in several.

    Raises
    ------
    CheckpointError
        If nothing is there, the file is damaged or incomplete, or holds objects that only running its code restores.
    """
    if not path.exists():
        known = [beside.name for beside in path.parent.glob("*")] if path.parent.is_dir() else []
        raise CheckpointError(f"expected a checkpoint, got nothing there.{did_you_mean(path.name, known)}")
    found: dict[str, Tensor] = {}
    if not path.is_dir():
        return _read_file(path)
    for part in weight_parts(path):
        found |= _read_file(part)
    return found


def weight_parts(folder: Path) -> list[Path]:
    """Return the files of a folder that hold its weights.

    Raises
    ------
    CheckpointError
        If it holds none under the names of ``transformers``, or a part is missing.
    """
    for name in _SINGLE:
        if (folder / name).is_file():
            return [folder / name]
        if (index := folder / f"{name}.index.json").is_file():
            try:
                parts = sorted({folder / part for part in json.loads(index.read_text("utf-8"))["weight_map"].values()})
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise CheckpointError(f"expected a list of parts in {index.name}, got {error}") from error
            missing = [part.name for part in parts if part.parent != folder or not part.is_file()]
            if missing:
                raise CheckpointError(f"expected the part {missing[0]} beside {index.name}, got nothing there")
            return parts
    here = sorted(file.name for file in folder.iterdir())[:10]
    raise CheckpointError(f"expected a folder with {' or '.join(_SINGLE[:2])}, got one with {listed(here)}")


def digest_of(path: Path) -> str:
    """Return 64 bits, as 16 hexadecimal digits, of all bytes of a checkpoint; of a folder, its weights and config."""
    digest = hashlib.sha256()
    config = path / CONFIG
    for file in [*weight_parts(path), *([config] if config.is_file() else [])] if path.is_dir() else [path]:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def _read_file(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f"{path.name} is empty: expected a checkpoint; write or copy it again")
    if path.suffix == ".safetensors":
        with _reading(path):
            from safetensors.torch import load_file

            return load_file(path)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path.name} is a pointer of git-lfs, not the file itself: expected weights; git lfs pull"
        )
    with _reading(path), torch.serialization.safe_globals(_HARMLESS):
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in one sentence why a file cannot be read."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except OSError:
        raise
    except Exception as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error):
            what = code[1] if code else "a TorchScript program" if "TorchScript" in str(error) else "other objects"
            raise CheckpointError(
                f"{path.name} is a pickle with code: expected tensors alone, got {what}, and no code of a file is "
                "executed; where you trust it, save its weights again by torch.save(model.state_dict(), path)"
            ) from error
        reason = (str(error).splitlines() or [""])[0][:120]
        raise CheckpointError(
            f"{path.name} is damaged or incomplete, or no checkpoint: {type(error).__name__}: {reason}; write or copy "
            "it again"
        ) from error


def tensors_in(tree: Any) -> Mapping[str, Tensor]:
    """Return the tensors of one mapping, by name."""
    if not isinstance(tree, Mapping):
        return {}
    return {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
