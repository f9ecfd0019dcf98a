"""What an object shows of itself: its sizes and settings, in a line of text, or as a small table in a notebook."""

from collections.abc import Mapping
from html import escape
from typing import Any

LONGEST = 120  # characters of a value


class Summarized:
    """An object that shows what its ``_summary`` gives: a title, and facts by name."""

    def _summary(self) -> tuple[str, Mapping[str, Any]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the summary in a line."""
        return as_line(*self._summary())

    def _repr_html_(self) -> str:
        """Return the summary as a table, its text escaped."""
        return as_table(*self._summary())


def as_line(title: str, facts: Mapping[str, Any]) -> str:
    """Return a title and facts as ``<title: name value, name value>``."""
    return f"<{title}: {', '.join(f'{name} {_short(value)}' for name, value in facts.items())}>"


def as_table(title: str, facts: Mapping[str, Any]) -> str:
    """Return a title and facts as an HTML table; every text is escaped."""
    left = 'style="text-align:left"'
    rows = "".join(
        f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(_short(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption><b>{escape(title)}</b></caption>{rows}</table>"


def count(number: int, word: str) -> str:
    """Return a number with its word, such as ``26,122 parameters``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
