"""How each kind of layer passes on, reads and writes units: the rules behind the permutation groups."""

from math import prod
from typing import Any

from torch import Tensor, fx, nn

from kdlandscape.landscape.permutations.groups import Feature, Groups, Site

Shape = tuple[int, ...]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CHANNEL_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
LAST_AXES_NORMS = (nn.LayerNorm, nn.RMSNorm)
ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
ELEMENTWISE = {
    "relu", "relu_", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "hardtanh",
    "dropout", "abs", "exp", "square", "pow", "sqrt", "neg", "clamp", "clone", "contiguous", "float", "double", "to",
    "relu6", "hardswish",
}  # fmt: skip
BINARY = {"add", "iadd", "sub", "isub", "mul", "imul", "truediv", "div", "add_", "mul_", "maximum", "minimum"}
POOLING = {f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)} | {
    "boolean_dispatch"
}  # fmt: skip  (torch.fx sees functional.max_pool under this name)
RESHAPES = {"flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze"}


class Walk(fx.Interpreter):
    """Runs a graph once on a batch, follows the units through it and joins the groups that must move together."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.features: dict[fx.Node, Feature | None] = {}
        self.shapes: dict[fx.Node, Shape] = {}
        self.extra_traceback = False
        self.groups = Groups(graph)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and label its value."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        self.features[n] = None
        if n.op == "call_module":
            self.features[n] = self._layer(n, self.module.get_submodule(str(n.target)))
        elif n.op in ("call_function", "call_method"):
            self.features[n] = self._function(n, value)
        elif n.op == "output":
            for source in n.all_input_nodes:
                self.groups.pin(self.features[source])
        return value

    # --- layers

    def _layer(self, node: fx.Node, layer: nn.Module) -> Feature | None:
        source = node.all_input_nodes[0]
        feature, shape = self.features[source], self.shapes[source]
        name = str(node.target)
        if isinstance(layer, nn.Linear):
            return self._dense(node, layer, feature, len(shape) - 1, (0, 1), layer.out_features)
        if isinstance(layer, CONVOLUTIONS + TRANSPOSED):
            return self._convolution(node, layer, feature, len(shape))
        if isinstance(layer, nn.Embedding):
            return self._write(node, 1, len(self.shapes[node]) - 1, layer.embedding_dim)
        if isinstance(layer, nn.GroupNorm):
            if feature is not None and feature.axis == 1 and layer.num_groups not in (1, layer.num_channels):
                raise self._refusal(node, f"{layer.num_groups} groups of channels: expected GroupNorm(1, C)")
            return self._norm(node, layer, feature, 1)
        if isinstance(layer, CHANNEL_NORMS):
            return self._norm(node, layer, feature, 1)
        if isinstance(layer, LAST_AXES_NORMS):
            return self._norm(node, layer, feature, len(shape) - len(layer.normalized_shape))
        if isinstance(layer, nn.PReLU):
            if layer.num_parameters > 1:
                self.groups.slot(f"{name}.weight", 0, feature if feature is None or feature.axis == 1 else None)
            return feature
        if isinstance(layer, ELEMENTWISE_MODULES):
            return feature
        if isinstance(layer, nn.Flatten | nn.Unflatten):
            return self._reshape(node, feature, shape, self.shapes[node])
        if isinstance(layer, POOLS):
            return self._pool(node, feature, len(self.shapes[node]), len(shape))
        if feature is None and next(layer.parameters(), None) is None:
            return None
        raise self._refusal(node, "there is no rule for it")

    def _dense(
        self, node: fx.Node, layer: nn.Module, feature: Feature | None, axis: int, axes: tuple[int, int], size: int
    ) -> Feature:
        """Let a layer read units on one axis of its weight and write new ones on the other."""
        if feature is not None:
            if feature.axis != axis:
                raise self._refusal(node, f"it mixes axis {axis}, but the units lie on axis {feature.axis}")
            self.groups.reads.append((feature.group, Site(node.all_input_nodes[0].name, feature.axis, feature.inner)))
        self.groups.slot(f"{node.target}.weight", axes[1], feature)
        return self._write(node, axes[0], axis, size)

    def _write(self, node: fx.Node, weight_axis: int, axis: int, size: int) -> Feature:
        group = self.groups.new(str(node.target), size)
        feature = Feature(axis, group, 1)
        self.groups.slot(f"{node.target}.weight", weight_axis, feature)
        if f"{node.target}.bias" in self.groups.canonical:
            self.groups.slot(f"{node.target}.bias", 0, feature)
        self.groups.writes.append((group, Site(node.name, axis)))
        return feature

    def _convolution(self, node: fx.Node, layer: Any, feature: Feature | None, ndim: int) -> Feature | None:
        axis = ndim - len(layer.kernel_size) - 1
        if layer.groups == 1:
            axes = (1, 0) if isinstance(layer, TRANSPOSED) else (0, 1)
            return self._dense(node, layer, feature, axis, axes, layer.out_channels)
        if layer.groups != layer.in_channels or isinstance(layer, TRANSPOSED):
            raise self._refusal(node, f"groups={layer.groups}: expected 1, or a depthwise convolution")
        inner = layer.out_channels // layer.in_channels * (1 if feature is None else feature.inner)
        for part in ("weight", "bias"):
            if f"{node.target}.{part}" in self.groups.canonical:
                self.groups.slot(f"{node.target}.{part}", 0, feature, inner)
        return None if feature is None else feature._replace(inner=inner)

    def _norm(self, node: fx.Node, layer: nn.Module, feature: Feature | None, first: int) -> Feature | None:
        """Let the scale, the shift and the running statistics (whose axis 0 is axis ``first``) follow the units."""
        tensors = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for part, tensor in tensors:
            for axis in range(tensor.ndim):
                follows = feature if feature is not None and feature.axis == first + axis else None
                self.groups.slot(f"{node.target}.{part}", axis, follows)
        return feature

    # --- functions

    def _function(self, node: fx.Node, value: Any) -> Feature | None:
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        sources = node.all_input_nodes
        if not isinstance(value, Tensor) or not any(self.features[source] for source in sources):
            uses = any(s.op == "get_attr" and s.target in self.groups.canonical for s in sources)
            if uses and isinstance(value, Tensor) and name not in BINARY:
                raise self._refusal(node, "it uses a parameter outside a layer that has a rule")
            return None
        feature, shape = self.features[sources[0]], self.shapes.get(sources[0], ())
        if name in BINARY:
            return self._broadcast(node, len(value.shape))
        if name in ELEMENTWISE and len(sources) == 1:
            return feature
        if name in POOLING and len(sources) == 1:
            return self._pool(node, feature, value.ndim, len(shape))
        if name in RESHAPES and feature is not None:
            return self._reshape(node, feature, shape, tuple(value.shape))
        if name in ("mean", "sum", "amax") and feature is not None and len(sources) == 1:
            return self._reduce(node, feature, len(shape))
        if name in ("transpose", "permute") and feature is not None:
            return feature._replace(axis=self._moved(node, name, feature.axis, len(shape)))
        raise self._refusal(node, "there is no rule for it")

    def _broadcast(self, node: fx.Node, ndim: int) -> Feature:
        """Join what is added or multiplied: operands must carry their units on the same axis, in the same blocks."""
        places = {}
        for source in node.all_input_nodes:
            feature = self.features[source]
            if feature is not None:
                places[source] = feature._replace(axis=feature.axis + ndim - len(self.shapes[source]))
        result = next(iter(places.values()))
        for source in node.all_input_nodes:
            place = places.get(source)
            if place is not None:
                if (place.axis, place.inner) != (result.axis, result.inner):
                    raise self._refusal(node, "its operands carry their units on different axes")
                try:
                    self.groups.join(place.group, result.group)
                except ValueError as error:
                    raise self._refusal(node, str(error)) from error
            elif source in self.shapes:
                self._constant(node, source, result, result.axis - ndim)
        return result

    def _constant(self, node: fx.Node, source: fx.Node, feature: Feature, axis: int) -> None:
        """Let a parameter follow the units it is added to; anything else that differs from unit to unit pins them."""
        shape = self.shapes[source]
        if -axis > len(shape) or shape[axis] == 1:
            return
        if source.op == "get_attr" and source.target in self.groups.canonical:
            self.groups.slot(str(source.target), len(shape) + axis, feature)
        else:
            self.groups.pin(feature)

    def _pool(self, node: fx.Node, feature: Feature | None, after: int, before: int) -> Feature | None:
        if feature is not None and (feature.axis != 1 or after != before):
            raise self._refusal(node, f"it pools over axis {feature.axis}, which carries units")
        return feature

    def _reduce(self, node: fx.Node, feature: Feature, ndim: int) -> Feature | None:
        dims: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        keep = node.kwargs.get("keepdim", node.args[2] if len(node.args) > 2 else False)
        axes = {d % ndim for d in ((dims,) if isinstance(dims, int) else dims or range(ndim))}
        if feature.axis in axes:
            return None  # a symmetric function of the units
        return feature if keep else feature._replace(axis=feature.axis - sum(axis < feature.axis for axis in axes))

    def _moved(self, node: fx.Node, name: str, axis: int, ndim: int) -> int:
        dims: Any = node.args[1:] if isinstance(node.args[1], int) else node.args[1]
        order = list(range(ndim))
        if name == "permute":
            order = [d % ndim for d in dims]
        else:
            a, b = (d % ndim for d in dims)
            order[a], order[b] = order[b], order[a]
        return order.index(axis)

    def _reshape(self, node: fx.Node, feature: Feature | None, old: Shape, new: Shape) -> Feature | None:
        """Find the axis on which the units lie after a reshape: the distance of two units in memory stays the same."""
        if feature is None:
            return None
        size = self.groups.size(feature.group)
        distance = prod(old[feature.axis + 1 :]) * feature.inner
        for axis, length in enumerate(new):
            step = prod(new[axis + 1 :])
            if distance % step == 0 and (length * step) % (distance * size) == 0:
                return Feature(axis, feature.group, distance // step)
        raise self._refusal(node, f"{old} to {new} tears the {size} units apart")

    def _refusal(self, node: fx.Node, reason: str) -> ValueError:
        if node.op == "call_module":
            kind = type(self.module.get_submodule(str(node.target))).__name__
            what = f"layer {str(node.target)!r} ({kind})"
        else:
            what = f"operation {node.name!r} ({getattr(node.target, '__name__', node.target)})"
        return ValueError(f"cannot derive the permutations of {what}: {reason}")
