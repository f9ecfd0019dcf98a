"""A device of the test's own: tensors that really compute on the CPU and say that they are on ``cuda:0``.

An operation that mixes them with a host tensor of at least one dimension is refused as CUDA refuses it, a generator of
another device too, and everything that a GPU would wait for (``.item()``, ``.cpu()``, a branch on a value) is counted.
What it cannot show: kernels that CUDA lacks, and time.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
TAKES_HOST = torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default  # indices
AT_HOST = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default
FACTORIES = {
    getattr(torch, name)
    for name in ("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm", "tensor")
} | {torch.zeros, torch.as_tensor, torch.asarray}


class OnDevice(Tensor):
    """A tensor of the simulated device; ``inner`` holds its values."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl
    waits: ClassVar[list[str]] = []  # one entry for each time the host waited, since the list was cleared

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnDevice":
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=inner.device,
        )
        made.inner = inner
        return made

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def __repr__(self, **kwargs: Any) -> str:
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        hosts = [leaf for leaf in leaves if not isinstance(leaf, cls) and leaf.ndim and not leaf._is_zerotensor()]
        if hosts and func is not torch.ops.aten.copy_.default and func not in TAKES_HOST:
            raise RuntimeError(
                f"expected all tensors of {func} on {DEVICE}, got {[tuple(leaf.shape) for leaf in hosts]} on the host"
            )
        if func in AT_HOST or (hosts and func not in TAKES_HOST):
            cls.waits.append(str(func))
        out = func(*tree_map(inner, args), **tree_map(inner, kwargs or {}))
        mutated = {id(inner(leaf)): leaf for leaf in leaves}  # an operation in place gives back its own argument
        return tree_map(lambda leaf: mutated.get(id(leaf), on_device(leaf)) if isinstance(leaf, Tensor) else leaf, out)


def inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, OnDevice) else leaf


def on_device(tensor: Tensor) -> Tensor:
    """Move a tensor to the simulated device."""
    return tensor if isinstance(lowest(tensor), OnDevice) else OnDevice(tensor)


def lowest(tensor: Tensor) -> Tensor:
    """Return what the transforms of torch.func have wrapped."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def where(tensor: Tensor) -> torch.device:
    """Return the device of a tensor, inside the mode too."""
    return DEVICE if isinstance(lowest(tensor), OnDevice) else tensor.device


class Generator(torch.Generator):
    """Stand in for ``torch.Generator``: one for the simulated device draws on the CPU and says that it does not."""

    where = torch.device("cpu")

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made = super().__new__(cls, "cpu")
        made.where = DEVICE if torch.device(device).type == DEVICE.type else torch.device("cpu")
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.where


class SimulatedDevice(TorchFunctionMode):
    """While it is entered, ``device="cuda"`` means the simulated device; ``torch.Generator`` has to be patched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__" and isinstance(lowest(args[0]), OnDevice):
            if func.__self__ is Tensor.device:
                return DEVICE
            if func.__self__ is Tensor.is_cuda:
                return True
        if name in ("to", "cpu", "cuda", "numpy", "tolist") and isinstance(args[0], Tensor):
            return self._moved(func, name, args, kwargs)
        device = kwargs.pop("device", None)
        if device is None and name.startswith("new_"):
            return func(*args, **kwargs)
        there = device is not None and torch.device(device).type == DEVICE.type
        if device is not None and not there:
            kwargs["device"] = device
        drawn = kwargs.get("generator")
        if func in FACTORIES and drawn is not None and (drawn.device.type == DEVICE.type) != there:
            raise RuntimeError(f"expected a generator of the device of {name}, got one on {drawn.device}")
        if func in FACTORIES and there:
            return on_device(func(*tree_map(inner, args), **kwargs))
        return func(*args, **kwargs)

    def _moved(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        tensor, there = args[0], isinstance(lowest(args[0]), OnDevice)
        given = [kwargs.pop("device", None), kwargs.pop("other", None), *args[1:]]
        devices = [torch.device(each) for each in given if isinstance(each, str | torch.device)]
        devices += [where(each) for each in given if isinstance(each, Tensor)]
        target = devices[0] if devices else (where(tensor) if name == "to" else torch.device("cpu"))
        kinds = [each.dtype if isinstance(each, Tensor) else each for each in given]
        dtype = next((kind for kind in kinds if isinstance(kind, torch.dtype)), kwargs.get("dtype"))
        if name in ("numpy", "tolist"):
            if not there:
                return func(*args)
            if name == "numpy":
                raise TypeError(f"can't convert a {DEVICE} tensor to numpy: copy it to the host first")
            OnDevice.waits.append(name)
            return tensor.inner.tolist()
        if dtype is not None or "memory_format" in kwargs:
            tensor = Tensor.to(tensor, dtype or tensor.dtype, **{k: v for k, v in kwargs.items() if k != "dtype"})
        if there and target.type == "cpu":
            OnDevice.waits.append(name)
            return tensor.detach().inner
        return on_device(tensor) if target.type == DEVICE.type and not there else tensor
