"""Run a network once, see every operation on its tensors, and find which units move together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from kdlandscape.landscape.permutations import rules
from kdlandscape.landscape.permutations.factors import Axis, Factors, leaves, loose, still

LOW = (torch.float32, torch.float16, torch.bfloat16)


class Label(NamedTuple):
    """What is known of a tensor: its axes, and whether it depends on the inputs (else on parameters alone)."""

    axes: list[Axis]
    live: bool


class Site(NamedTuple):
    """The value of one operand (or of the result: ``place`` -1) of a contraction, by its number in a forward pass."""

    number: int
    place: int
    axes: list[Axis]


class InDouble(TorchDispatchMode):
    """Keeps a forward pass in float64 where the network casts to less, so that rounding hides no difference."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation with every lower floating dtype replaced."""
        args, kwargs = tree_map(_in_double, (args, kwargs or {}))
        return func(*args, **kwargs)


class Walk(TorchDispatchMode):
    """Labels the tensors of a forward pass by their units.

    Tensors that depend on no parameter need no rule: the axes of the inputs, and of what is computed from them, are
    still; so is an axis of a constant, unless the constant is the same along it.
    """

    def __init__(self, module: nn.Module, state: Mapping[str, Tensor], inputs: Any, hand: Mapping[str, str]) -> None:
        super().__init__()
        self.factors, self.hand = Factors(), dict(hand)
        self.labels, self.data = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        self.tensors: list[list[Axis]] = []
        self.used: list[list[Axis]] = []  # what reaches the outputs, or is summed over
        self.reads: list[Site] = []
        self.writes: list[Site] = []
        self.outputs: dict[str, list[Axis]] = {}  # of every layer, by its name
        self.contractions, self.depth = 0, 0
        self.layers: list[tuple[str, nn.Module]] = [("", module)]
        self.axes: dict[str, list[Axis]] = {}
        for name, tensor in state.items():
            if tensor not in self.labels:  # a tied weight goes by its first name
                layer = name.rpartition(".")[0] or name
                self.axes[name] = [loose(size, layer) for size in tensor.shape]
                self._label(tensor, self.axes[name], live=False)
        for tensor in tree_leaves(inputs):
            if isinstance(tensor, Tensor):
                self.data[tensor] = True

    # --- what is known of tensors

    def axes_of(self, tensor: Tensor) -> list[Axis]:
        """Return the axes of a tensor; of a constant, an axis along which it does not change is loose."""
        if tensor in self.labels:
            return self.labels[tensor].axes
        if tensor in self.data:
            return [still(size) for size in tensor.shape]
        same = ((tensor == tensor.narrow(k, 0, 1)).all() for k in range(tensor.ndim))
        return [loose(size) if alike else still(size) for size, alike in zip(tensor.shape, same, strict=True)]

    def live(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the inputs."""
        return tensor in self.data or (tensor in self.labels and self.labels[tensor].live)

    def _label(self, tensor: Tensor, axes: list[Axis], *, live: bool) -> None:
        self.labels[tensor] = Label(axes, live)
        self.tensors.append(axes)
        if live:
            self.used.append(axes)

    # --- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and label what it gives."""
        args, kwargs = tree_map(_in_double, (args, kwargs or {}))
        call = rules.Call(self, func, args, kwargs)
        labelled = [tensor for tensor in call.tensors if tensor in self.labels]
        self.factors.where = f"operation {call.name!r} in {self.layer}"
        rule = call.rule()
        if labelled and rule is None and (simpler := rules.decomposition(func)) is not None:
            self.depth += 1
            with self:
                result = simpler(*args, **kwargs)
            self.depth -= 1
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        contraction = call.name in rules.CONTRACTIONS and not self.depth
        number, self.contractions = self.contractions, self.contractions + contraction
        live = any(map(self.live, call.tensors))
        if labelled:
            axes = (rule or rules.observe)(call, result)
            for tensor, found in zip(_tensors(result), axes, strict=True):
                self._label(tensor, found, live=live)
            if call.name in rules.CONTRACTIONS:
                self.used += map(self.axes_of, rules.operands(call))
            if contraction:
                self._note(number, call, result)
        elif call.name in rules.FILLS and _tensors(result) and result.is_floating_point():
            self._label(result, [loose(size) for size in result.shape], live=False)
        elif live:
            for tensor in _tensors(result):
                self.data[tensor] = True
        return result

    def _note(self, number: int, call: "rules.Call", result: Tensor) -> None:
        """Keep where units are read and written by weights: what activation matching compares."""
        operands = rules.operands(call)
        if all(map(self.live, operands)):
            return
        self.writes.append(Site(number, -1, self.axes_of(result)))
        self.reads += [Site(number, k, self.axes_of(x)) for k, x in enumerate(operands) if self.live(x)]

    @property
    def layer(self) -> str:
        """The layer that runs now, for messages."""
        name, module = self.layers[-1]
        return f"layer {name!r} ({type(module).__name__})" if name else f"the forward of {type(module).__name__}"

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Keep track of the layer that runs."""
        handles: list[Any] = []
        for name, layer in module.named_modules():
            if name:
                entry = (name, layer)
                handles.append(layer.register_forward_pre_hook(lambda *_, entry=entry: self.layers.append(entry)))
                handles.append(layer.register_forward_hook(self._left, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _left(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        name, _ = self.layers.pop()
        if isinstance(output, Tensor) and output in self.labels:
            self.outputs[name] = self.labels[output].axes

    def finish(self, outputs: list[Tensor]) -> None:
        """Pin the outputs."""
        for tensor in outputs:
            for axis in self.axes_of(tensor):
                self.factors.pin(axis)


class Recorder(TorchDispatchMode):
    """Keeps the values at some sites of a forward pass."""

    def __init__(self, sites: list[Site]) -> None:
        super().__init__()
        self.wanted = {(site.number, site.place) for site in sites}
        self.kept: dict[tuple[int, int], Tensor] = {}
        self.contractions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and keep its operands or its result where asked for."""
        args, kwargs = tree_map(_in_double, (args, kwargs or {}))
        result = func(*args, **kwargs)
        call = rules.Call(None, func, args, kwargs)
        if call.name in rules.CONTRACTIONS:
            for place, tensor in [(-1, result), *enumerate(rules.operands(call))]:
                if (self.contractions, place) in self.wanted:
                    self.kept[self.contractions, place] = tensor.clone()
            self.contractions += 1
        return result


def free(axes: list[Axis]) -> bool:
    """Whether an axis has units that may move."""
    return any(not factor.fixed for axis in axes for factor in leaves(axis))


def _tensors(result: Any) -> list[Tensor]:
    return [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]


def _in_double(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in LOW else value
