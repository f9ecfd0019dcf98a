"""A recorded batched program, rewritten to do less: the same numbers up to the order of sums."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx

from kdlandscape.landscape.evaluation.graph import LANES, in_place, mutating

aten = torch.ops.aten
SAME_SHAPE = (aten.expand.default, aten.view.default, aten._unsafe_view.default, aten.reshape.default)
BY_STRIDES = (  # these name places in memory
    aten.as_strided.default,
    aten._reshape_alias.default,
    aten.view_as_complex.default,
    aten.view.dtype,
)
SWAPS = (aten.transpose.int, aten.t.default)


def leaner(program: fx.GraphModule) -> fx.GraphModule:
    """Return a program with fewer and cheaper operations; as it is where an operation writes into its input.

    What changes nothing is left out, what is computed twice is computed once, a bias is added by the product that it
    follows, products of few columns are taken the other way round, and ReLU overwrites what nothing else reads.
    """
    if mutating(program):
        return program
    for rewrite in (_without_idle, _without_repeats, _few_columns, _with_bias, _without_idle):
        rewrite(program.graph)
        program.graph.eliminate_dead_code()
    return in_place(program)


def _value(node: Any) -> Any:
    return node.meta.get("val") if isinstance(node, fx.Node) else None


def _calls(graph: fx.Graph, *targets: Any) -> Iterator[Any]:
    """Yield the calls of these operations, of which every shape is known."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in targets and isinstance(_value(node), Tensor):
            yield node


def _replace(node: fx.Node, other: Any) -> None:
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def _insert(graph: fx.Graph, like: Tensor, target: Callable[..., Any], *args: Any) -> fx.Node:
    """Add a call that gives a tensor of the kind of ``like``."""
    node = graph.call_function(target, args)
    node.meta["val"] = like
    return node


def _without_idle(graph: fx.Graph) -> None:
    """Leave out what gives its input: a shape that is there already, a factor of 1, two swaps of the same axes."""
    for node in _calls(graph, *SAME_SHAPE, *SWAPS, aten.detach.default, aten.mul.Scalar):
        source = node.args[0]
        given, found = _value(source), _value(node)
        if not isinstance(given, Tensor) or given.dtype != found.dtype:
            continue
        if node.target is aten.mul.Scalar:
            idle = isinstance(node.args[1], int) and node.args[1] == 1
        elif node.target in SWAPS:
            before = source.args[0] if source.op == "call_function" and source.target is node.target else None
            swaps = before is not None and _axes(source) == _axes(node)
            source, idle = (before, True) if swaps else (source, False)
        else:
            idle = node.target is aten.detach.default or given.shape == found.shape
        if idle and source is not None:
            _replace(node, source)


def _axes(node: fx.Node) -> Any:
    rank = max(_value(node).ndim, 1)
    return {int(axis) % rank for axis in cast(Any, node.args[1:])}


def _without_repeats(graph: fx.Graph) -> None:
    """Compute once what is computed twice from the same inputs; random numbers are drawn as often as before."""
    seen: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        drawn = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if node.op != "call_function" or drawn:
            continue
        key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        if key in seen:
            _replace(node, seen[key])
        else:
            seen[key] = node


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_hashable, value))
    if isinstance(value, dict):
        return tuple(sorted((name, _hashable(one)) for name, one in value.items()))
    return value if isinstance(value, fx.Node) else (type(value).__name__, repr(value))


def _few_columns(graph: fx.Graph) -> None:
    """Use X W = (W^T X^T)^T for few columns: the classes then come first in memory, which sums over them like too."""
    if any(node.target in BY_STRIDES for node in graph.nodes):
        return
    for node in _calls(graph, aten.bmm.default):
        value = _value(node)
        if value.device.type != "cpu" or not value.is_floating_point() or value.shape[2] >= LANES:
            continue
        if value.shape[1] < LANES:
            continue
        left, right = node.args
        with graph.inserting_before(node):
            turned = [_insert(graph, _value(one).mT, aten.transpose.int, one, 1, 2) for one in (right, left)]
            columns_first = value.mT.contiguous()
            product = _insert(graph, columns_first, aten.bmm.default, *turned)
            back = _insert(graph, columns_first.mT, aten.transpose.int, product, 1, 2)
        _replace(node, back)
        _reshape_after(back)


def _reshape_after(turned: fx.Node) -> None:
    """Let every view of what comes from a result copy where its new layout asks for it."""
    found, todo = {turned}, [turned]
    while todo:
        for user in todo.pop().users:
            if user not in found:
                found.add(user)
                todo.append(user)
    for node in found:
        if node.target in (aten.view.default, aten._unsafe_view.default):
            node.target = aten.reshape.default


def _with_bias(graph: fx.Graph) -> None:
    """Let a product start from the bias (K, 1, n) that is added to it next."""
    for node in _calls(graph, aten.add.Tensor):
        if node.kwargs or len(node.args) != 2:
            continue
        for bias, product in (node.args, node.args[::-1]):
            turned = isinstance(product, fx.Node) and product.target is aten.transpose.int
            inner = product.args[0] if turned else product
            if not isinstance(inner, fx.Node) or inner.target is not aten.bmm.default or not _is_bias(bias, product):
                continue
            if len(inner.users) > 1 or len(product.users) > 1:
                continue
            with graph.inserting_before(node):
                start = _insert(graph, _value(bias).mT, aten.transpose.int, bias, 1, 2) if turned else bias
                found = _insert(graph, _value(inner), aten.baddbmm.default, start, *inner.args)
                if turned:
                    found = _insert(graph, _value(node), aten.transpose.int, found, 1, 2)
            _replace(node, found)
            break


def _is_bias(bias: Any, product: fx.Node) -> bool:
    one, other = _value(bias), _value(product)
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.ndim != 3 or one.dtype != other.dtype:
        return False
    return one.shape == (other.shape[0], 1, other.shape[2])
