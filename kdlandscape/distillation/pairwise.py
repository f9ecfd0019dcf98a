"""Many networks of one problem, two by two: fidelity, paths with their barriers, and the plane through them."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.utils._pytree import tree_map

from kdlandscape.cubes.variables import dataset, placed, variable
from kdlandscape.distillation.comparison import excess
from kdlandscape.distillation.label_positions import Positions, positions_of
from kdlandscape.distillation.loaded import CONTROL, Loaded
from kdlandscape.distillation.predictions import logits
from kdlandscape.distillation.problems import Problem, first_examples
from kdlandscape.distillation.tallies import Tally, tally
from kdlandscape.landscape.directions import plane_through
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.many_networks import stacked
from kdlandscape.landscape.paths.interpolation import barrier, interpolate
from kdlandscape.landscape.permutations.alignment import align
from kdlandscape.landscape.permutations.rescaling import rescaling
from kdlandscape.landscape.reduction import num_examples as num_examples_of
from kdlandscape.landscape.slices import slice_plane

ALIGNMENTS = ("as it is", "permuted", "rescaled")
SPLITS = ("train", "test")
UNDEFINED = (ValueError, RuntimeError, NotImplementedError)  # how probes say that a network has no such thing


def pairs_of(networks: Sequence[Loaded]) -> dict[str, tuple[Loaded, Loaded]]:
    """Return every two networks by the words for them, the earlier one, as teacher, first."""
    return {f"{one.name} | {two.name}": (one, two) for one, two in combinations(networks, 2)}


def pairwise_fidelity(
    networks: Sequence[Loaded],
    control: Loaded | None = None,
    *,
    num_examples: int | None = None,
    batch_size: int = 250,
    top_k: Sequence[int] = (),
) -> xr.Dataset:
    """Compare the predictions of every two networks, on training and on test data.

    Parameters
    ----------
    networks
        Of one problem; in each pair the earlier one is the teacher.
    control
        An independent network: what it agrees on with a teacher is subtracted.
    num_examples, batch_size
        The first ones of each split (default: all), and how many of them are run at once: their logits are held.
    top_k
        As for `fidelity`; larger ones than the number of classes are left out.

    Returns
    -------
    xarray.Dataset
        What `fidelity` gives, with the problem's own metrics, and with a control `excess`, over ``pair, split``. Tokens
        count where the loss counts them; ``positions`` in the attrs says where. ``fidelity_note`` says for which pairs
        it is not defined, and why.
    """
    problem, pairs = networks[0].problem, pairs_of(networks)
    how, parts = positions_of(problem), []
    every = [*networks, *([control] if control is not None else [])]
    asked = {words: (a.name, b.name) for words, (a, b) in pairs.items()}
    if control is not None:
        asked |= {f"{one.name} | {CONTROL}": (one.name, control.name) for one in networks}
    for split in SPLITS:
        data = first_examples(getattr(problem, split), num_examples)
        found = _tallies(how, problem, every, asked, _batches(data, batch_size), top_k)
        rows: list[xr.Dataset | None] = []
        for words, (a, _) in pairs.items():
            one, beside = found.get(words), found.get(f"{a.name} | {CONTROL}")
            rows.append(one if one is None or beside is None else one.merge(excess(one, beside)))
        parts.append(stacked(rows, "pair", list(pairs)))
    result = stacked(parts, "split", SPLITS)
    notes = [_unlike(a, b) for a, b in pairs.values()]
    result = result.assign_coords(pair=_labelled("pair", pairs), split=_labelled("split", SPLITS))
    result["fidelity_note"] = variable("pair", notes, "why fidelity is not defined; empty where it is")
    return result.transpose("pair", "split", ...).assign_attrs(positions=how.words)


def _tallies(
    how: Positions,
    problem: Problem,
    networks: Sequence[Loaded],
    asked: Mapping[str, tuple[str, str]],
    batches: Iterable[tuple[Any, Any]],
    top_k: Sequence[int],
) -> dict[str, xr.Dataset]:
    """Return the fidelity of each pair that is asked for and defined: sums that add up over batches."""
    sums: dict[str, Tally] = {}
    metrics = problem.metrics if how.kind == "classes" else {}
    for inputs, targets in batches:
        seen = {one.name: logits(one.model, one.state, inputs)[0] for one in networks}
        for words, (teacher, student) in asked.items():
            z_t, y, mask = how.of(seen[teacher], inputs, targets)
            z_s = how.of(seen[student], inputs, targets).logits
            if z_t.shape != z_s.shape or not how.any_counts(y, mask):
                continue
            sizes = [k for k in top_k if k <= z_t.shape[-1]]
            one = tally(z_t, z_s, y, mask=mask, top_k=sizes, metrics=metrics)
            sums[words] = sums[words] + one if words in sums else one
    return {words: one.means(()) for words, one in sums.items()}


def _batches(data: tuple[Any, Any], size: int) -> Iterator[tuple[Any, Any]]:
    for start in range(0, num_examples_of(data[0]), size):
        yield tree_map(lambda leaf, start=start: None if leaf is None else leaf[start : start + size], data)


def _unlike(a: Loaded, b: Loaded) -> str:
    """Say why the predictions of two networks do not compare; empty where they do."""
    first, second = (tuple(logits(x.model, x.state, first_examples(x.problem.train[0], 1)).shape[2:]) for x in (a, b))
    return "" if first == second else f"the logits of an example have shape {first} in {a.name}, {second} in {b.name}"


def pairwise_paths(
    networks: Sequence[Loaded],
    objectives: Mapping[str, MeanLoss],
    *,
    t: int | Sequence[float] = 21,
    bn: str | None = None,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    """Evaluate the straight path between every two networks: as they are, with units permuted, and rescaled.

    Parameters
    ----------
    networks
        Of one problem. A path runs from the earlier one (t = 0) to the later one (t = 1), which is moved onto it.
    objectives
        By split. Units are compared on the first batch of the first one.
    t, bn
        As for `interpolate`; default of ``bn``: re-estimated at every point for networks with running statistics.
    generator
        Draws the order of visits in alignment.

    Returns
    -------
    xarray.Dataset
        For the loss and every metric m of the objectives ``path_m`` over ``pair, alignment, split, t``, and without t
        ``m_barrier`` (``barrier`` and ``end_barrier`` of the loss). ``distance`` and ``cosine`` of the ends over
        ``pair, alignment``; ``scale_share`` over ``pair``, the share of the squared distance that scales and signs of
        units explain. ``path_note`` says where a path is not defined, and why. The attrs say what BatchNorm does.
    """
    policy = networks[0].problem.batch_norm if bn is None else bn
    rows, notes, shares = [], [], []
    pairs = pairs_of(networks)
    for a, b in pairs.values():
        moved, why, share = _moved(next(iter(objectives.values())), a, b, generator)
        paths = [None if state is None else _paths(objectives, a.state, state, t, policy) for state in moved.values()]
        rows.append(stacked(paths, "alignment", ALIGNMENTS))
        notes.append(why)
        shares.append(share)
    found = stacked(rows, "pair", list(pairs))
    found = found.assign_coords(pair=_labelled("pair", pairs), alignment=_labelled("alignment", ALIGNMENTS))
    if "t" in found:
        found = found.assign_coords(t=variable("t", found["t"], "place on the path, the second at 1", symbol="t"))
    found["path_note"] = variable(("pair", "alignment"), notes, "why the path is not defined; empty where it is")
    label = "share of the squared distance that scales and signs of units explain"
    found["scale_share"] = variable("pair", np.array(shares), label)
    return found


def _moved(
    objective: MeanLoss, a: Loaded, b: Loaded, generator: torch.Generator | None
) -> tuple[dict[str, Any], list[str], float]:
    """Return the second network as it is, permuted and rescaled onto the first; and why one is None."""
    if differs := a.difference(b):
        return dict.fromkeys(ALIGNMENTS), [differs] * len(ALIGNMENTS), np.nan
    moved: dict[str, Any] = {"as it is": b.state}
    why, share = [""], np.nan
    ways: dict[str, Callable[[], Any]] = {
        "permuted": lambda: align(objective, a.state, b.state, generator=generator),
        "rescaled": lambda: rescaling(objective, a.state, b.state),
    }
    for name, way in ways.items():
        try:
            moved[name] = way()
            why.append("")
            share = getattr(moved[name], "share", share)
        except UNDEFINED as error:
            moved[name] = None
            why.append(str(error).splitlines()[0])
    return moved, why, share


def _paths(
    objectives: Mapping[str, MeanLoss], start: Mapping[str, Tensor], end: Mapping[str, Tensor], t: Any, bn: str
) -> xr.Dataset:
    """Return one path with its barriers over the splits."""
    parts = []
    for objective in objectives.values():
        path = interpolate(objective, start, end, t=t, bn=bn)
        values: dict[str, Any] = {}
        for name in objective.metric_names:
            along = "along the path from the first (t = 0) to the second (t = 1)"
            values[f"path_{name}"] = placed(path[name], along)
            values["barrier" if name == "loss" else f"{name}_barrier"] = barrier(path, name)
        values["end_barrier"] = barrier(path, definition="end")
        facts = {key: path.attrs[key] for key in ("bn", "running_statistics", "num_examples") if key in path.attrs}
        parts.append(dataset(values, **facts))
    found = xr.concat(parts, xr.DataArray(list(objectives), dims="split", name="split"), combine_attrs="drop_conflicts")
    first, last = (next(iter(objectives.values())).ravel(state).double() for state in (start, end))
    cosine = torch.nn.functional.cosine_similarity(first, last, dim=0)
    found["distance"] = variable((), float((last - first).norm()), "distance of the networks")
    found["cosine"] = variable((), float(cosine), "cosine of the networks' parameters")
    return found


def plane_through_networks(
    networks: Sequence[Loaded],
    objective: MeanLoss,
    *,
    points: int = 21,
    margin: float = 0.4,
    bn: str | None = None,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    """Evaluate the loss on the plane through the first three networks of one shape; of two, the third is permuted.

    Parameters
    ----------
    networks, objective
        Of one problem, and the loss.
    points, margin
        Points on each axis, up to three more, and how far the plane reaches beyond the networks at least, in units of
        the distance of the first two. These lie on the grid, so what is drawn there is their own loss.
    bn
        As for `pairwise_paths`; statistics that differ between the networks are re-estimated whatever it says.
    generator
        Draws what the networks leave open.

    Returns
    -------
    xarray.Dataset
        ``plane_loss`` over ``y, x``; ``plane_points`` over ``point, axis`` and ``plane_point_loss`` over ``point``.
        Empty where no other network has the shape of the first.
    """
    alike = [one for one in networks if not networks[0].difference(one)][:3]
    if len(alike) < 2:
        return xr.Dataset()
    states: dict[str, Any] = {one.name: one.state for one in alike}
    if len(alike) == 2:
        permuted = _moved(objective, alike[0], alike[1], generator)[0]["permuted"]
        states |= {} if permuted is None else {f"{alike[1].name}, permuted": permuted}
    thetas = [objective.ravel(state) for state in states.values()]
    laid = plane_through(*thetas, fill=True, generator=generator)
    axes = [_axis(places.tolist(), points, margin) for places in laid.points.T]
    own = networks[0].problem.batch_norm
    policy = own if bn is None or own == "recalibrate" else bn
    marks = dict(zip(states, laid.points.tolist(), strict=True))
    plane = slice_plane(objective, laid.origin, laid.directions, x=axes[0], y=axes[1], marks=marks, bn=policy)
    at = plane.sel(mark=list(marks))
    unit = f"{float(laid.directions[0].norm()):.4g}"
    where = "on the plane through the networks"
    return dataset(
        {
            "plane_loss": placed(plane["loss"], where),
            "plane_points": variable(("point", "axis"), laid.points, "coordinates of the networks on the plane"),
            "plane_point_loss": variable(
                "point", at["marked_loss"].values, at["marked_loss"].long_name, objective.units
            ),
        },
        coords={
            "x": variable("x", axes[0], f"from {alike[0].name} to {alike[1].name}, in units of their distance, {unit}"),
            "y": variable("y", axes[1], "across, in the same unit"),
            "point": list(states),
            "axis": ["x", "y"],
        },
        plane_bn=policy,
        plane_examples=objective.num_examples,
    )


def _axis(places: Sequence[float], points: int, margin: float) -> list[float]:
    """Return evenly spaced coordinates around some places, with 0 and the farthest place among them."""
    low, high, far = min(places) - margin, max(places) + margin, max(map(abs, places)) or 1.0
    cells = max(1, round(far * (points - 1) / (high - low)))
    step = far / cells
    return [far * (k / cells) for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _labelled(dim: str, names: Iterable[str]) -> xr.Variable:
    """Return the coordinate of a dim of a comparison with its label."""
    words = {"pair": "pair of networks", "split": "part of the data", "alignment": "the second network"}
    return variable(dim, list(names), words[dim])
