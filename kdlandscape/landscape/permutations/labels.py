"""What is known of the tensors of a forward pass: their axes, and whether they depend on the inputs."""

from typing import NamedTuple

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from kdlandscape.landscape.permutations.factors import Axis, loose, still
from kdlandscape.landscape.permutations.unification import Factors


class Label(NamedTuple):
    """What is known of a tensor: its axes, and whether it depends on the inputs (else on parameters alone)."""

    axes: list[Axis]
    live: bool


class Labels:
    """Labels of tensors.

    Tensors that depend on no parameter need none: the axes of the inputs, and of what is computed from them, are still;
    so is an axis of a constant, unless the constant is the same along it.
    """

    def __init__(self) -> None:
        self.factors = Factors()
        self._labels, self._data, self._places = (WeakTensorKeyDictionary() for _ in range(3))
        self.tensors: list[list[Axis]] = []
        self.used: list[list[Axis]] = []  # what reaches the outputs, or is summed over

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._labels

    def axes_of(self, tensor: Tensor) -> list[Axis]:
        """Return the axes of a tensor; of a constant, an axis along which it does not change is loose."""
        if tensor in self._labels:
            return self._labels[tensor].axes
        if tensor in self._data:
            return [still(size) for size in tensor.shape]
        same = ((tensor == tensor.narrow(k, 0, 1)).all() for k in range(tensor.ndim))
        return [loose(size) if alike else still(size) for size, alike in zip(tensor.shape, same, strict=True)]

    def live(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the inputs."""
        return tensor in self._data or (tensor in self._labels and self._labels[tensor].live)

    def add(self, tensor: Tensor, axes: list[Axis], *, live: bool) -> None:
        """Label a tensor."""
        self._labels[tensor] = Label(axes, live)
        self.tensors.append(axes)
        if live:
            self.used.append(axes)

    def add_data(self, tensor: Tensor) -> None:
        """Note that a tensor depends on the inputs and on no parameter."""
        self._data[tensor] = True

    def add_places(self, tensor: Tensor, axis: Axis) -> None:
        """Note that a tensor of integers names places on an axis, such as those of the largest values."""
        self._places[tensor] = axis

    def use(self, tensor: Tensor) -> None:
        """Hold units whose places are used."""
        if tensor in self._places:
            self.factors.hold(self._places[tensor], "it uses the places of units")
