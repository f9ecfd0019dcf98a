"""What a spec leaves to a problem of the user's own, and the entries of a mapping as parameters and axes."""

from collections.abc import Iterable, Mapping
from typing import Any

from kdlandscape.sweeps.errors import SpecError
from kdlandscape.sweeps.places import shipped

#: What our own data sets and networks are chosen by, in the shipped notebooks; also of a part: ``other_width``.
OURS = (
    "data_set",
    "network",
    "width",
    "depth",
    "norm",
    "num_train",
    "num_test",
    "num_fresh",
    "label_noise",
    "distill_on",
)


def without_ours(content: Mapping[str, Any], asked: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content of a spec of a shipped notebook without what its problem replaces.

    Each value of a parameter that chooses among our own data sets and networks would give the same runs. Groups in
    ``zip`` and rules in ``exclude`` that name one of them fall away too.

    Parameters
    ----------
    content
        Of the spec.
    asked
        Names that the user has set beside the problem.

    Raises
    ------
    SpecError
        If one of them would have no effect.
    """
    content = _with_rows(content)
    given = content.get("parameters")
    if not isinstance(given, Mapping) or not given.get("problem") or not _is_shipped(content.get("notebook")):
        return content
    for name in asked:
        if _is_ours(name):
            raise SpecError(
                f"{name}: expected no choice among our own data and networks beside a problem of your own, got one; "
                f"if your function takes it, say options.{name}"
            )
    for key in ("parameters", "grid"):
        if isinstance(content.get(key), Mapping):
            content[key] = {name: value for name, value in content[key].items() if not _is_ours(name)}
    for key, kept in (("vectorize", str), ("zip", list), ("exclude", dict)):
        if isinstance(content.get(key), list):
            content[key] = [
                one for one in content[key] if not (isinstance(one, kept) and any(map(_is_ours, _names(one))))
            ]
    table = content.get("table")
    if isinstance(table, Mapping) and isinstance(table.get("rows"), list):
        content["table"] = {**table, "rows": [row for row in table["rows"] if not _is_ours(row)]}
    return content


def _is_ours(name: str) -> bool:
    return name in OURS or name.rpartition("_")[2] in ("network", "width", "depth")


def _with_rows(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with each axis of options as a row of its table, which would not know what to do with it."""
    grid, table = content.get("grid"), content.get("table")
    if not isinstance(grid, Mapping) or not isinstance(table, Mapping) or not isinstance(table.get("rows"), list):
        return dict(content)
    rows = [name for name in grid if isinstance(name, str) and entry(name) and name not in table["rows"]]
    return {**content, "table": {**table, "rows": [*rows, *table["rows"]]}}


def _is_shipped(notebook: Any) -> bool:
    place = shipped("notebooks")
    return isinstance(notebook, str) and (path := place / notebook).is_file() and path.parent == place


def _names(part: Any) -> set[str]:
    return {part} if isinstance(part, str) else {name for name in part if isinstance(name, str)}


def entry(name: str) -> tuple[str, str] | None:
    """Return the mapping and the key that a name such as ``options.width`` stands for; None for a plain name."""
    mapping, dot, key = name.partition(".")
    return (mapping, key) if dot else None


def filled(parameters: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return parameters with the entries of mappings, such as ``options.width``, in their mappings."""
    found = {name: value for name, value in parameters.items() if entry(name) is None}
    for name, value in parameters.items():
        place = entry(name)
        if place is not None:
            mapping, key = place
            own = found.get(mapping, (defaults or {}).get(mapping) or {})
            found[mapping] = {**own, key: value}
    return found


def without_entries(parameters: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return parameters without some of them, or of their entries."""
    names = set(names)
    found = {name: value for name, value in parameters.items() if name not in names}
    for mapping, key in filter(None, map(entry, names)):
        if isinstance(found.get(mapping), Mapping):
            found[mapping] = {own: value for own, value in found[mapping].items() if own != key}
    return found
