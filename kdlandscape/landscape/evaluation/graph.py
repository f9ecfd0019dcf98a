"""A loss as a flat graph of tensor operations: traced once, rewritten to do less work a point, run from any thread."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

aten = torch.ops.aten
Graph = fx.GraphModule

VIEWS = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.t.default,
    aten.transpose.int,
    aten.permute.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.slice.Tensor,
    aten.select.int,
    aten.expand.default,
    aten.clone.default,
    aten.detach.default,
    aten.split_with_sizes.default,
    aten.split.Tensor,
    operator.getitem,
)
PRODUCTS = (aten.addmm.default, aten.mm.default, aten.convolution.default)
FRESH = (*PRODUCTS, aten.bmm.default, aten.baddbmm.default, aten.add.Tensor, aten.mul.Tensor)
ALIASES = tuple({*VIEWS} - {aten.clone.default, aten.reshape.default, aten._unsafe_view.default})
FIXED, GIVEN, SEEN = "fixed_", "given_", "seen_"
NORMS = (aten.native_batch_norm.default, aten.cudnn_batch_norm.default)  # whose arguments stand in the same order
LANES = 16  # float32 numbers in a register: torch's log-softmax over fewer classes than that is not vectorized


def trace(function: Callable[..., Sequence[Tensor]], theta: Tensor, batch: Any) -> Graph:
    """Record ``function(theta, batch)`` as a graph of (theta, *tensors of the batch), free of mutation.

    Raises
    ------
    ValueError
        If the function cannot be recorded, or a part of its result does not depend on theta where it should.
    """
    leaves, structure = tree_flatten(batch)

    def flat(theta: Tensor, *leaves: Tensor) -> list[Tensor]:
        return list(function(theta, tree_unflatten(list(leaves), structure)))

    try:
        with torch.no_grad():
            graph = make_fx(flat)(theta, *leaves)
            if mutating(graph):  # the second recording sees inside composite operations
                graph = make_fx(functionalize(graph, remove="mutations"))(theta, *leaves)
    except Exception as error:
        raise ValueError(f"the loss cannot be traced ({error}); use Strategy(trace=False)") from error
    if names := mutating(graph):
        raise ValueError(f"the loss cannot be traced ({names[0]} overwrites its input); use Strategy(trace=False)")
    varying = _depending(graph)
    if not all(node in varying for node in outputs(graph)[::2]):
        raise ValueError(
            "the loss or a metric cannot be traced (it does not depend on theta, or leaves torch); "
            "use Strategy(trace=False)"
        )
    return graph


def mutating(graph: Graph) -> list[str]:
    """Return the names of the operations that write into an input."""
    schemas = [getattr(node.target, "_schema", None) for node in graph.graph.nodes if node.op == "call_function"]
    return [schema.name for schema in schemas if schema is not None and schema.is_mutable]


def arguments(batch: Any) -> list[Tensor]:
    """Return the tensors of a batch in the order in which a traced graph takes them."""
    return tree_flatten(batch)[0]


def outputs(graph: Graph) -> list[Any]:
    """Return the nodes that the graph returns."""
    return list(cast(Any, next(node for node in graph.graph.nodes if node.op == "output").args[0]))


def constants(graph: Graph) -> list[fx.Node]:
    """Return where to cut so that everything that does not depend on theta is computed once for all points."""
    varying = _depending(graph)
    fixed = {node for node in graph.graph.nodes if node.op == "call_function" and node not in varying}
    return [node for node in graph.graph.nodes if node in fixed and _read_outside(node, fixed)]


def views(graph: Graph) -> list[fx.Node]:
    """Return where to cut so that the parameters are looked up in theta once, if theta stays where it is."""
    found = {next(iter(graph.graph.nodes))}
    for node in graph.graph.nodes:
        if node.target in ALIASES and not node.kwargs and set(node.all_input_nodes) <= found:
            found.add(node)
    ends = [node for node in graph.graph.nodes if node in found and _read_outside(node, found)]
    return [node for node in ends if node.op != "placeholder"]


def affine_parts(graph: Graph) -> list[fx.Node]:
    """Return where to cut so that products of constants with theta (the first layer) are computed once a plane.

    Their results are affine in theta: at origin + x d they are those at the origin plus x times those of d.
    """
    varying, products = _depending(graph), set()
    found = {next(iter(graph.graph.nodes))}
    for node in graph.graph.nodes:
        inputs = [source for source in node.all_input_nodes if source in varying]
        if node.op == "call_function" and inputs and all(s in found for s in inputs) and _linear(node, inputs):
            found.add(node)
            if node.target in PRODUCTS or any(source in products for source in inputs):
                products.add(node)
    return [node for node in graph.graph.nodes if node in products and _read_outside(node, found)]


def _depending(graph: Graph) -> set[fx.Node]:
    """Return the nodes that depend on theta, the graph's first placeholder."""
    nodes: set[fx.Node] = set()
    for index, node in enumerate(graph.graph.nodes):
        if index == 0 or any(source in nodes for source in node.all_input_nodes):
            nodes.add(node)
    return nodes


def _read_outside(node: fx.Node, inside: set[fx.Node]) -> bool:
    return isinstance(node.meta.get("val"), Tensor) and any(user not in inside for user in node.users)


def _linear(node: fx.Node, varying: list[fx.Node]) -> bool:
    """Whether the operation is affine in its varying inputs, if those are affine in theta."""
    if node.kwargs and node.target is not aten.clone.default:
        return False
    if node.target in PRODUCTS:
        data = node.args[1] if node.target is aten.addmm.default else node.args[0]
        return data not in varying
    return node.target in VIEWS or node.target is aten.add.Tensor


def split(graph: Graph, ends: list[fx.Node], name: str) -> tuple[Graph, Graph]:
    """Cut in two: ``values = first(*args)``, and ``rest(*args, *values)`` gives what the whole graph gives."""
    first, rest, copies, later = fx.Graph(), fx.Graph(), {}, {}
    nodes = list(graph.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    for node in inputs:
        copies[node], later[node] = first.node_copy(node), rest.node_copy(node)
    for index, node in enumerate(ends):
        later[node] = rest.placeholder(f"{name}{index}")
    for node in nodes[len(inputs) :]:
        if node.op != "output":
            copies[node] = first.node_copy(node, copies.__getitem__)
        if node not in later:
            later[node] = rest.node_copy(node, later.__getitem__)
    first.output([copies[node] for node in ends])
    for part in (first, rest):
        part.eliminate_dead_code()
    return Graph(graph, first), Graph(graph, rest)


def fold_batch_norm(graph: Graph) -> Graph:
    """Multiply BatchNorm with fixed statistics into the convolution before it: no pass over the activations is left."""
    for node in list(graph.graph.nodes):
        norm = node.args[0] if node.target is operator.getitem and node.args[1] == 0 else None
        if not isinstance(norm, fx.Node) or norm.target not in NORMS or norm.args[5]:
            continue
        convolution: Any = norm.args[0]
        if convolution.target is aten.convolution.default and len(convolution.users) == 1 and not convolution.args[6]:
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(_folded(graph.graph, convolution, norm))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _folded(graph: fx.Graph, convolution: fx.Node, norm: fx.Node) -> fx.Node:
    """Use w' = w s, b' = beta + (b - mean) s with s = gamma / sqrt(var + eps)."""
    call = _caller(graph)
    data, weight, bias, *settings = cast(Any, convolution.args)
    _, gamma, beta, mean, variance, _, _, eps = cast(Any, norm.args)
    scale = call(aten.rsqrt.default, call(aten.add.Tensor, variance, eps))
    if gamma is not None:
        scale = call(aten.mul.Tensor, scale, gamma)
    rank = len(settings[0]) + 1
    shift = call(aten.neg.default, mean) if bias is None else call(aten.sub.Tensor, bias, mean)
    shift = call(aten.mul.Tensor, shift, scale)
    if beta is not None:
        shift = call(aten.add.Tensor, shift, beta)
    scaled = call(aten.mul.Tensor, weight, call(aten.view.default, scale, [-1, *[1] * rank]))
    return call(aten.convolution.default, data, scaled, shift, *settings)


def _caller(graph: fx.Graph) -> Callable[..., fx.Node]:
    """Return the function that adds an operation on the given nodes where the graph is being written."""
    return lambda target, *args: graph.call_function(target, args)


def classes_first(graph: Graph) -> Graph:
    """Take the log-softmax over a few classes, and the layer before it, in the layout (classes, examples).

    On a CPU torch runs over 10 classes one number at a time, but over examples a register at a time: 4 to 11 times
    faster.
    """
    for node in list(graph.graph.nodes):
        value = node.meta.get("val")
        if node.target is not aten._log_softmax.default or value.ndim != 2 or node.args[1] not in (1, -1):
            continue
        if value.device.type != "cpu" or value.shape[1] >= LANES or node.args[2]:
            continue
        with graph.graph.inserting_before(node):
            call = _caller(graph.graph)
            result = call(aten._log_softmax.default, _transposed(graph.graph, node.args[0]), 0, False)
            node.replace_all_uses_with(call(aten.t.default, result))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _transposed(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """Use (x W + b)^T = W^T x^T + b."""
    call = _caller(graph)
    if node.target is not aten.addmm.default or len(node.users) > 1 or node.kwargs:
        return call(aten.t.default, node)
    bias, data, weight = cast(Any, node.args)
    return call(
        aten.addmm.default,
        call(aten.unsqueeze.default, bias, -1),
        weight.args[0] if weight.target is aten.t.default else call(aten.t.default, weight),
        call(aten.t.default, data),
    )


def own_results(graph: Graph) -> Graph:
    """Copy results that lie in what a caller writes anew for each point: theta, parts of it, and what is given."""
    found = {next(iter(graph.graph.nodes))}
    for node in graph.graph.nodes:
        written = node.op == "placeholder" and str(node.target).startswith((GIVEN, SEEN))
        if written or (node.target in ALIASES and any(source in found for source in node.all_input_nodes)):
            found.add(node)
    end = next(node for node in graph.graph.nodes if node.op == "output")
    with graph.graph.inserting_before(end):
        call = _caller(graph.graph)
        end.args = ([call(aten.clone.default, node) if node in found else node for node in outputs(graph)],)
    graph.recompile()
    return graph


def in_place(graph: Graph, owned: str = GIVEN) -> Graph:
    """Let ReLU overwrite its input where nothing else reads it: fresh results, and placeholders named ``owned``."""
    for node in graph.graph.nodes:
        if node.target is not aten.relu.default:
            continue
        source: Any = node.args[0]
        if len(source.users) > 1:
            continue
        if source.target in FRESH or (source.op == "placeholder" and str(source.target).startswith(owned)):
            node.target = aten.relu_.default
    graph.recompile()
    return graph
