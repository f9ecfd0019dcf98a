"""What a notebook calls last: in a sweep it files the run's result away, by hand it does nothing."""

import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from kdlandscape.cubes.provenance import FACTS, collect
from kdlandscape.cubes.schema import RUN, SchemaError, check, without_facts
from kdlandscape.cubes.store import write_run
from kdlandscape.sweeps.dependencies import inputs
from kdlandscape.sweeps.own_problem import without_entries
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE, cells, defaults, here


def record(dataset: xr.Dataset | xr.DataArray, *, checkpoints: xr.Dataset | None = None) -> xr.Dataset:
    """Hand this run's result to the sweep that executes the notebook; by hand, check it as there, and return it.

    Parameters
    ----------
    dataset
        The result, over the vectorized axes and its own dims; see ``cubes.schema.check`` for what it needs. An array
        with a name is a dataset of that one variable.
    checkpoints
        Weights or other bulk data; kept in the group ``checkpoints`` of the same file, and not part of the cube. With
        the run's parameters, `kdlandscape.cubes.store.read_checkpoints` gives them back.

    Returns
    -------
    xarray.Dataset
        In a sweep with the run's coordinates as dims of length 1 and its provenance as coordinates.

    Raises
    ------
    SchemaError
        If the dataset cannot go into a cube, by hand too; in a sweep also if it contradicts the run's coordinates.
    RuntimeError
        On a second call in one run.
    """
    dataset = _as_dataset(dataset)
    context_file = os.environ.get(CONTEXT_VARIABLE)
    if not context_file:
        check(without_facts(dataset))
        return dataset
    context = json.loads(Path(context_file).read_text(encoding="utf-8"))
    result = Path(context["result"])
    if result.exists():
        raise RuntimeError(f"record: expected one call in a run, got a second one in run {context['run']}")
    dataset = without_facts(dataset)
    check(dataset, axes=context["vectorized"], outer=len(context["coords"]))
    for name, values in context["vectorized"].items():
        dataset = _agree(dataset, name, values)
    along = context["along"]
    dataset = _place(dataset, {name: value for name, value in context["coords"].items() if name not in along})
    dataset = _follow(dataset, {name: (dim, context["coords"][name]) for name, dim in along.items()})
    dataset = _label(dataset, context["labels"])
    outer = [name for name in context["coords"] if name not in along]
    own = _parameters(context)
    read = json.dumps(inputs(here(), cells(), own, os.stat(context_file).st_mtime))
    dataset = _attach(dataset, _facts(dataset, context) | {"inputs": read}, outer)
    fixed = json.dumps(without_entries(own, {*context["coords"], *context["vectorized"]}))
    facts = {"id": context["run"], "recipe": context["spec_hash"], "parameters": fixed}
    dataset.attrs |= {f"{RUN}{name}": value for name, value in facts.items()}
    kept = {}
    if checkpoints is not None:
        kept = {"checkpoints": checkpoints.assign_attrs({f"{RUN}parameters": json.dumps(own)})}
    result.with_suffix(".inputs").write_text(read, encoding="utf-8")
    write_run(dataset, result, kept)
    return dataset


def _as_dataset(result: Any) -> xr.Dataset:
    if isinstance(result, xr.DataArray) and result.name is not None:
        return result.to_dataset()
    if not isinstance(result, xr.Dataset):
        what = "an array without a name" if isinstance(result, xr.DataArray) else type(result).__name__
        raise SchemaError(f"record: expected a Dataset, or a DataArray with a name, got {what}")
    return result


def _parameters(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every parameter: what the spec gives, or else what the notebook's own cell has computed."""
    own = {**defaults(), **context["given"]}
    return {name: own[name] for name in sorted(own) if name not in context["injected"]}


def _agree(dataset: xr.Dataset, name: str, values: list) -> xr.Dataset:
    """Give a dim the spec's literal values, if it has them up to single precision (0.1 may have been a float32)."""
    own, literal = dataset[name].values, np.array(values)
    if own.shape != literal.shape or not (
        np.allclose(own, literal, rtol=1e-6, atol=1e-12) if _numeric(own, literal) else own.tolist() == values
    ):
        raise SchemaError(f"{name}: expected the coordinate {values} that the spec gave this run, got {own.tolist()}")
    return dataset.assign_coords({name: (name, literal, dataset[name].attrs)})


def _numeric(*arrays: np.ndarray) -> bool:
    return all(array.dtype.kind in "iuf" for array in arrays)


def _place(dataset: xr.Dataset, coords: Mapping[str, Any]) -> xr.Dataset:
    for name in coords:
        if name in dataset.data_vars:
            raise SchemaError(f"{name}: expected no variable with the name of an axis, got one; rename it")
    own = [name for name in coords if name in dataset.dims]
    for name in own:
        dataset = _agree(dataset, name, [coords[name]])
    new = {name: [value] for name, value in coords.items() if name not in own}
    labels = {name: dataset[name].attrs for name in new if name in dataset.coords}
    dataset = dataset.drop_vars(list(labels)).expand_dims(new)
    for name, attrs in labels.items():
        dataset[name].attrs = attrs
    return dataset


def _follow(dataset: xr.Dataset, along: Mapping[str, tuple[str, Any]]) -> xr.Dataset:
    """Give the run its place on axes that advance together with another: coordinates along that one."""
    for name in along:
        if name in dataset.data_vars or name in dataset.dims:
            raise SchemaError(f"{name}: expected no variable or dim with the name of a zipped axis, got one; rename it")
    return dataset.assign_coords({name: (dim, [value]) for name, (dim, value) in along.items()})


def _label(dataset: xr.Dataset, labels: Mapping[str, Mapping[str, str]]) -> xr.Dataset:
    """Say what axes are where the notebook has not said it."""
    for name in labels.keys() & {str(one) for one in dataset.coords}:
        dataset[name].attrs = {**labels[name], **dataset[name].attrs}
    return dataset


def _facts(dataset: xr.Dataset, context: Mapping[str, Any]) -> dict[str, Any]:
    return collect(context["folder"]) | {
        "notebook_hash": context["notebook_hash"],
        "device": str(dataset.attrs.get("device", "")),
        "started_at": datetime.fromtimestamp(context["started"], UTC).isoformat(timespec="seconds"),
        "wall_time": time.time() - context["started"],
    }


def _attach(dataset: xr.Dataset, facts: Mapping[str, Any], outer: list[str]) -> xr.Dataset:
    for name, value in facts.items():
        long_name, units = FACTS[name]
        array = np.full((1,) * len(outer), value)
        dataset = dataset.assign_coords({f"{RUN}{name}": (outer, array, {"long_name": long_name, "units": units})})
    return dataset
