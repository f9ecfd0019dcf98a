"""Values of parameters: what a type makes of one, when two are the same, and how Python spells one."""

import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class MismatchError(ValueError):
    """A value does not have a type; ``where`` leads to the part of it that is to blame, which is ``got``."""

    def __init__(self, got: Any, *where: object):
        super().__init__(f"{got!r} ({type(got).__name__})")
        self.got, self.where = got, where


def as_typed(value: Any, kind: Any) -> Any:
    """Return a value as its type says: an integer as a float, a YAML list as a tuple, nothing else changed.

    Parameters
    ----------
    value
        Numbers, texts, booleans, None, and lists, tuples and mappings of them.
    kind
        A type as ``typing`` spells it, made of those that `kdlandscape.sweeps.parameters` knows; ``Any`` takes all.

    Raises
    ------
    MismatchError
        If the value does not have the type; a bool is no number.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _as_one_of(value, parts)
    if origin is typing.Literal:
        if not any(type(value) is type(literal) and value == literal for literal in parts):
            raise MismatchError(value)
        return value
    if kind is float and type(value) is int:
        return float(value)
    if kind in (None, type(None), bool, int, float, str):
        if type(value) is not (type(None) if kind is None else kind):
            raise MismatchError(value)
        return value
    return _CONTAINERS[origin or kind](value, parts)


def _as_one_of(value: Any, kinds: Iterable[Any]) -> Any:
    """Return a value as the first type that takes it unchanged, or else as the first that takes it."""
    found, deepest = [], MismatchError(value)
    for kind in kinds:
        try:
            found.append(as_typed(value, kind))
        except MismatchError as error:
            deepest = max(deepest, error, key=lambda one: len(one.where))
    if not found:
        raise deepest
    return next((one for one in found if repr(one) == repr(value)), found[0])


def _list(value: Any, parts: tuple) -> list:
    if not isinstance(value, list):
        raise MismatchError(value)
    return [_part(item, (parts or (Any,))[0], i) for i, item in enumerate(value)]


def _tuple(value: Any, parts: tuple) -> tuple:
    if not isinstance(value, list | tuple):
        raise MismatchError(value)
    if not parts or parts[-1] is Ellipsis:
        kinds = [(parts or (Any,))[0]] * len(value)
    else:
        kinds = [] if parts == ((),) else list(parts)
    if len(kinds) != len(value):
        raise MismatchError(value, min(len(kinds), len(value)))
    return tuple(_part(item, kind, i) for i, (item, kind) in enumerate(zip(value, kinds, strict=True)))


def _dict(value: Any, parts: tuple) -> dict:
    if not isinstance(value, dict):
        raise MismatchError(value)
    of_key, of_item = parts or (Any, Any)
    return {_part(key, of_key, key): _part(item, of_item, key) for key, item in value.items()}


def _part(value: Any, kind: Any, where: object) -> Any:
    try:
        return as_typed(value, kind)
    except MismatchError as error:
        raise MismatchError(error.got, where, *error.where) from None


_CONTAINERS: dict[Any, Callable[[Any, tuple], Any]] = {list: _list, tuple: _tuple, dict: _dict}


def plain(value: Any) -> Any:
    """Return a value without numpy's scalars; MismatchError for what is no number, text, list or mapping."""
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, list | tuple):
        return type(value)(_plain_parts(value))
    if isinstance(value, Mapping):
        return dict(zip(_plain_parts(value), _plain_parts(value.values()), strict=True))
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        raise MismatchError(value)
    return None


def _plain_parts(values: Iterable[Any]) -> list:
    return [plain(value) for value in values]


def canonical(value: Any) -> str:
    """Return a text that two values share exactly if they are the same.

    1 and 1.0 are the same, a list and a tuple are, mappings in another order are, nan and nan are; 1 and True are not.
    """
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(sorted(f'{canonical(key)}:{canonical(item)}' for key, item in value.items()))}}}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value)


def digest(value: Any) -> str:
    """Return 64 bits, as 16 hexadecimal digits, that the same values share."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def python_code(value: Any) -> str:
    """Return Python that gives a value as it is, with its type; names are not needed for it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(python_code, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(python_code, value))}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{python_code(key)}: {python_code(item)}' for key, item in value.items())}}}"
    return repr(value)
