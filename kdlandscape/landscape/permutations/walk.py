"""Run a network once, see every operation on its tensors, and find which units move together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from kdlandscape.landscape.permutations.factors import Axis, loose, rigid
from kdlandscape.landscape.permutations.labels import Labels
from kdlandscape.landscape.permutations.operations import CONTRACTIONS, Call, decomposition, operands
from kdlandscape.landscape.permutations.rules import FILLS, rule_of
from kdlandscape.landscape.permutations.trials import observe

LOW = (torch.float32, torch.float16, torch.bfloat16)


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
    """Labels the tensors of a forward pass by their units, operation by operation."""

    def __init__(self, module: nn.Module, state: Mapping[str, Tensor], inputs: Any, hand: Mapping[str, str]) -> None:
        super().__init__()
        self.labels, self.hand = Labels(), dict(hand)
        self.reads: list[Site] = []
        self.writes: list[Site] = []
        self.outputs: dict[str, list[Axis]] = {}  # of every layer, by its name
        self.contractions, self.depth = 0, 0
        self.layers: list[tuple[str, nn.Module]] = [("", module)]
        self.axes: dict[str, list[Axis]] = {}
        for name, tensor in state.items():
            layer = name.rpartition(".")[0] or name
            self.axes[name] = [loose(size, layer) for size in tensor.shape]
            self.labels.add(tensor, self.axes[name], live=False)
        for tensor in _tensors(inputs):
            self.labels.add_data(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and label what it gives."""
        args, kwargs = tree_map(_in_double, (args, kwargs or {}))
        call = Call(self.labels, func, args, kwargs)
        known = any(tensor in self.labels for tensor in call.tensors)
        self.labels.factors.where = f"operation {call.name!r} in {self.layer}"
        for tensor in call.tensors:
            self.labels.use(tensor)
        rule = rule_of(call, self.hand)
        if known and rule is None and (simpler := decomposition(func)) is not None:
            self.depth += 1
            with self:
                result = simpler(*args, **kwargs)
            self.depth -= 1
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        live = any(map(self.labels.live, call.tensors))
        if known:
            for tensor, axes in zip(_tensors(result), (rule or observe)(call, result), strict=True):
                self.labels.add(tensor, axes, live=live)
        elif call.name in FILLS and _tensors(result) and result.is_floating_point():
            self.labels.add(result, [loose(size) for size in result.shape], live=False)
        elif live:
            for tensor in _tensors(result):
                self.labels.add_data(tensor)
        if call.name in CONTRACTIONS:
            self._note(call, result)
        return result

    def _note(self, call: Call, result: Tensor) -> None:
        """Keep where units are read and written by weights: what activation matching compares."""
        factors, labels = operands(call), self.labels
        labels.used += [labels.axes_of(x) for x in factors if x in labels]
        if self.depth:
            return
        if result in labels and not all(map(labels.live, factors)):
            self.writes.append(Site(self.contractions, -1, labels.axes_of(result)))
            reads = ((k, x) for k, x in enumerate(factors) if labels.live(x))
            self.reads += [Site(self.contractions, k, labels.axes_of(x)) for k, x in reads]
        self.contractions += 1

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
            self.outputs[name] = self.labels.axes_of(output)

    def finish(self, outputs: list[Tensor]) -> None:
        """Pin the outputs."""
        for tensor in outputs:
            for axis in self.labels.axes_of(tensor):
                self.labels.factors.pin(axis)


class Recorder(TorchDispatchMode):
    """Keeps the values at some sites of a forward pass."""

    def __init__(self, sites: list[Site]) -> None:
        super().__init__()
        self.wanted = {(site.number, site.place) for site in sites}
        self.kept: dict[tuple[int, int], Tensor] = {}
        self.contractions, self.labels = 0, Labels()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and keep its operands or its result where asked for."""
        args, kwargs = tree_map(_in_double, (args, kwargs or {}))
        result = func(*args, **kwargs)
        call = Call(self.labels, func, args, kwargs)
        if call.name in CONTRACTIONS:
            for place, tensor in [(-1, result), *enumerate(operands(call))]:
                if (self.contractions, place) in self.wanted:
                    self.kept[self.contractions, place] = tensor.clone()
            self.contractions += 1
        return result


def free(axes: list[Axis]) -> bool:
    """Whether an axis has units that may move."""
    return not all(map(rigid, axes))


def _tensors(result: Any) -> list[Tensor]:
    return [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]


def _in_double(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in LOW else value
