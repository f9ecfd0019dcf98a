"""The API page, generated from the docstrings: ``python -m kdlandscape.api`` writes it to the standard output."""

import inspect
import re

import kdlandscape

FOLDERS = ("landscape", "distillation", "cubes", "studies", "sweeps", "figures")


def api_page() -> str:
    """Return a page (Markdown) with the signature and the docstring of every public name."""
    parts = [
        "# kdlandscape: every public name\n\nWritten by `python -m kdlandscape.api`. `import kdlandscape as kdl`; "
        "what belongs to one folder is `kdl.<folder>.<name>`.\n"
    ]
    for module, prefix in ((kdlandscape, "kdl"), *((getattr(kdlandscape, name), f"kdl.{name}") for name in FOLDERS)):
        parts.append(f"\n## {prefix}\n")
        things = {name: getattr(module, name) for name in module.__all__ if name != "__version__"}
        parts += [_entry(f"{prefix}.{name}", thing) for name, thing in things.items() if not inspect.ismodule(thing)]
    return "".join(parts)


def _entry(name: str, thing: object) -> str:
    entry = f"\n### `{name}`\n\n```text\n{name}{_signature(thing)}\n\n{inspect.getdoc(thing)}\n```\n"
    if not inspect.isclass(thing):
        return entry
    methods = [(key, value) for key, value in vars(thing).items() if not key.startswith("_") and inspect.getdoc(value)]
    lines = [f"- `.{key}`: {(inspect.getdoc(value) or '').splitlines()[0]}" for key, value in methods]
    return entry + "\n" + "\n".join(lines) + "\n" if lines else entry


def _signature(thing: object) -> str:
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a constant, an error, the name of a type
        return ""
    return re.sub(r" at 0x[0-9a-f]+", "", text.replace("kdlandscape.", ""))


if __name__ == "__main__":
    print(api_page(), end="")
