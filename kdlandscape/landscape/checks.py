"""What an objective is asked before it is believed: that the loss is a mean, and the network a function of examples."""

import random
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.batches import preserve_rng
from kdlandscape.landscape.evaluation.points import evaluate
from kdlandscape.landscape.loss import MeanLoss
from kdlandscape.landscape.network import moving, picked, with_part
from kdlandscape.landscape.reduction import num_examples

FEW = 16  # examples on which the network is looked at
SOME = 256  # examples, spread over the data, on which the loss is
ALIKE = 1e-6  # relative difference of outputs that layers which fix their precision themselves may have


def look(loss: MeanLoss) -> None:
    """Set what the network and the loss need (``moving``, ``whole``, ``mixes``), and refuse what cannot be right.

    Raises
    ------
    ValueError
        See `kdlandscape.landscape.objective.Objective`; each message says what was expected, what came and what to do.

    Notes
    -----
    Costs six passes over 16 examples, two over 256, and two over all data.
    """
    batch = next(loss.batches.loaded())
    few = _rows(batch, slice(0, FEW))
    raw = _check_runs(loss, few[0])
    loss.criteria.whole = frozenset(name for name in loss.metric_names if _reads_whole(loss, raw, few[1], name))
    for name in loss.criteria.whole:
        _stand_in(loss, batch, name)
    loss.criteria.whole -= loss.criteria.stand_ins.keys()
    loss.mixes = _mixes(loss, few)
    _check_means(loss, batch)
    _check_stable(loss)


def _rows(batch: Any, index: Any) -> Any:
    return tree_map(lambda leaf: leaf[index], batch)


def _check_runs(loss: MeanLoss, inputs: Any) -> Any:
    """Find the buffers that a run changes, and return the output; say what the network was given if it cannot run."""
    try:
        changed = moving(loss.model, {**loss.constants, **loss.unravel(loss.theta)}, inputs)
        loss.moving = changed & loss.constants.keys()
        with torch.no_grad():
            raw = loss.raw(loss.theta, inputs)
            loss.criteria.counted(raw)
        return raw
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        whole = not any(leaf.is_floating_point() for leaf in tree_leaves(inputs))
        hint = "; whole numbers that are no indices (uint8 images) have to be made floats" if whole else ""
        raise ValueError(
            f"{type(loss.model).__name__} does not run on a batch of the data: {type(error).__name__}: {error}. It was "
            f"given inputs {_described(inputs)}{hint}"
        ) from error


def _reads_whole(loss: MeanLoss, raw: Any, targets: Any, name: str) -> bool:
    """Whether a loss takes the whole output: it does where it runs on one that is more than a tensor."""
    if isinstance(raw, Tensor) or loss.criteria.which is not None:
        return False
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            loss.criteria.reduce(raw, targets, name)
    except Exception:  # a loss of the user's own that cannot read this output may raise anything
        return False
    return True


def _stand_in(loss: MeanLoss, batch: Any, name: str) -> None:
    """Keep an output in which the part that counts can be replaced, if a loss uses nothing else of it."""
    n = num_examples(batch)
    first, last = (_rows(batch, part) for part in (slice(0, min(n // 2, FEW)), slice(max(n // 2, n - FEW), n)))
    if n < 2:
        return
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        like, raw = loss.raw(loss.theta, first[0]), loss.raw(loss.theta, last[0])
        part = picked(like)
        expected = loss.criteria.reduce(raw, last[1], name).total
        try:  # an output of other examples: the same loss only where nothing but the part is read
            found = loss.criteria.reduce(with_part(like, part, picked(raw)), last[1], name).total
        except Exception:  # whatever a loss of the user's own raises when the parts do not fit together
            return
    if torch.equal(torch.as_tensor(found), torch.as_tensor(expected)):
        loss.criteria.stand_ins[name] = (like, part)


def _mixes(loss: MeanLoss, batch: Any) -> bool:
    """Run two parts of a few examples in float64 and compare with both together; refuse a network that is random."""
    n, inputs = num_examples(batch), batch[0]
    if n < 2:
        return False
    try:
        exact = loss.on(batch).to(torch.float64)
        inputs = next(exact.stream())[0]
        together = _run(exact, inputs)
    except (RuntimeError, ValueError, TypeError):  # a network that fixes its precision itself
        exact, inputs, together = loss, batch[0], _run(loss, batch[0])
    if not isinstance(together, Tensor) or not together.is_floating_point():
        return False
    eps = torch.finfo(together.dtype).eps
    bound = (ALIKE if exact is not loss else max(50 * eps, ALIKE)) * float(together.abs().amax())
    again = _run(exact, inputs, advance=True)
    if not torch.equal(again, together) and float((again - together).abs().amax()) > bound:
        raise ValueError(
            f"{type(loss.model).__name__} gives other outputs when it runs again: expected a function of its inputs; "
            "turn off dropout and sampling that stay on in eval mode"
        )
    cut = max(1, n // 3)
    try:
        parts = [_run(exact, _rows(inputs, part)) for part in (slice(0, cut), slice(cut, n))]
        apart = torch.cat(parts)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return True
    return apart.shape != together.shape or not bool(((apart - together).abs() <= bound).all())


def _run(loss: MeanLoss, inputs: Any, advance: bool = False) -> Any:
    with preserve_rng(), torch.no_grad():
        if advance:
            _advance()
        found = picked(loss.raw(loss.theta, inputs), loss.criteria.which)
    return found.detach() if isinstance(found, Tensor) else found  # a network may turn gradients on again


def _advance() -> None:
    """Move every global random state, so that what depends on one shows."""
    torch.rand(int(torch.randint(1, 9, ()))), np.random.random(), random.random()  # noqa: NPY002


def _check_means(loss: MeanLoss, batch: Any) -> None:
    """Refuse a loss that is no mean over examples: on examples from all over the data, and on each batch."""
    n = num_examples(batch)
    spread = torch.linspace(0, n - 1, min(n, SOME)).long()
    samples = [_rows(batch, spread)] if not loss.mixes else []
    samples += [_rows(batch, slice(0, min(n, SOME)))] if not loss.mixes else [next(loss.stream())]
    for inputs, targets in samples:
        with torch.no_grad():
            raw = loss.raw(loss.theta, inputs)
        for name in loss.metric_names:
            _check_mean(loss, name, loss.criteria.taken(raw, name), targets, inputs)


def _check_mean(loss: MeanLoss, name: str, outputs: Any, targets: Any, inputs: Any) -> None:
    n = num_examples(targets)
    if n < 3 or (loss.mixes and not isinstance(outputs, Tensor)):
        return
    whole, parts = _totals(loss, name, outputs, targets, inputs)
    eps = torch.finfo(loss.loss_dtype).eps
    problem = _differ(whole, parts, eps**0.6, 100 * eps * n)
    if not problem and isinstance(outputs, Tensor) and outputs.is_floating_point():
        # at a perfect match the loss is rounding alone: ask at other outputs too, where the loss is defined there
        noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0)).to(outputs) * outputs.std()
        try:
            whole, parts = _totals(loss, name, outputs + noise, targets, inputs)
            problem = _differ(whole, parts, eps**0.6, 0.0)
        except (RuntimeError, ValueError):
            return
    if problem:
        split = parts[0] + parts[1]
        raise ValueError(
            f"{name!r} is no mean over examples: {n} examples give the sum {float(whole.sum()):.6g}, two parts of them "
            f"{float(split.sum()):.6g}. Return one value for each example, a pair (sum, weight), or use Pooled; class "
            "weights and ignore_index are understood in nn.CrossEntropyLoss and nn.NLLLoss; outputs and targets whose "
            "shapes differ are multiplied out by torch"
        )


def _differ(whole: Tensor, parts: list[Tensor], rtol: float, atol: float) -> bool:
    scale = torch.stack([total.abs() for total in (whole, *parts)]).amax()
    gap = (whole - parts[0] - parts[1]).abs()
    return bool(torch.isfinite(whole).all() and (gap > rtol * scale + atol).any())


def _totals(loss: MeanLoss, name: str, outputs: Any, targets: Any, inputs: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the sum of a loss over some examples, and over two parts of them."""
    n = num_examples(targets)
    whole, parts = _total(loss, name, outputs, targets), []
    for part in (slice(0, n // 3), slice(n // 3, n)):
        try:
            if isinstance(outputs, Tensor):
                parts.append(_total(loss, name, outputs[part], _rows(targets, part)))
            else:
                with torch.no_grad():
                    taken = loss.criteria.taken(loss.raw(loss.theta, _rows(inputs, part)), name)
                parts.append(_total(loss, name, taken, _rows(targets, part)))
        except ValueError as error:
            raise ValueError(
                f"{name!r} does not work on a part of the data ({str(error).splitlines()[0]}): expected a loss of any "
                "number of examples; a weight of each example belongs into the targets"
            ) from error
    return whole, parts


def _total(loss: MeanLoss, name: str, outputs: Any, targets: Any) -> Tensor:
    """Return the sum of a loss in float64, whatever its precision, and refuse shapes that torch would multiply out."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size", category=UserWarning)
        try:
            return torch.as_tensor(loss.criteria.reduce(outputs, targets, name).total).double()
        except (RuntimeError, TypeError, IndexError, KeyError, AttributeError) as error:
            given = outputs if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(
                f"{name!r} does not take the outputs ({_described(given)}) and targets ({_described(targets)}) of the "
                f"data: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ) from error
        except UserWarning as warning:
            raise ValueError(
                f"{name!r} compares outputs {tuple(outputs.shape)} with targets {tuple(targets.shape)}, which torch "
                "multiplies out to all pairs: expected one shape; reshape the targets"
            ) from warning


def _described(tree: Any) -> str:
    leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return ", ".join(f"{tuple(leaf.shape)} {str(leaf.dtype)[6:]}" for leaf in leaves) or str(tree)


def _check_stable(loss: MeanLoss) -> None:
    """Evaluate twice, from other random states: the loss must be finite, and both evaluations must agree."""
    first = evaluate(loss, loss.theta[None])
    with preserve_rng():
        _advance()
        second = evaluate(loss, loss.theta[None])
    if not torch.isfinite(first["loss"]).all():
        raise ValueError(
            f"the loss at the model's own parameters is {float(first['loss'])}: expected a finite number; "
            "check the inputs for NaN and the loss for a logarithm of zero"
        )
    tolerance = torch.finfo(loss.loss_dtype).eps ** 0.5
    for name, found in first.items():
        if not torch.allclose(found, second[name], rtol=tolerance, atol=tolerance**2, equal_nan=True):
            raise ValueError(
                f"two evaluations of {name!r} differ ({float(found)} and {float(second[name])}): expected a "
                "deterministic pipeline; turn off random augmentation and sampling in the data"
            )
