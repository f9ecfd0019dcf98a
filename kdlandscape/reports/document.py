"""A page of sections as one HTML file: every text is escaped, pictures are inside, nothing is asked of any machine."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from kdlandscape.cubes.words import visible
from kdlandscape.widgets import html_page
from kdlandscape.widgets.browser_files import page_script, style

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>{style}</style></head><body class="kdl-page kdl-report">
<header><h1>{title}</h1>{lead}<nav aria-label="sections">{links}</nav></header>
<main>{sections}</main>
{scripts}</body></html>
"""


@dataclass(frozen=True)
class Section:
    """A heading and the elements below it, as `paragraph`, `table` and the like make them."""

    heading: str
    elements: Sequence[str]


def page(
    title: str, sections: Sequence[Section], *, lead: Sequence[str] = (), board: dict[str, Any] | None = None
) -> str:
    """Return the HTML of a page.

    Parameters
    ----------
    title
        The heading of the page; a question, where there is one.
    sections
        In their order. Those without elements are left out.
    lead
        Elements below the title.
    board
        What `kdlandscape.widgets.html_page.contents` returns, for a page with the element `interactive_board`.
    """
    full = [section for section in sections if section.elements]
    links = [f'<a href="#s{i}">{text(section.heading)}</a>' for i, section in enumerate(full)]
    bodies = [
        f'<section id="s{i}"><h2>{text(section.heading)}</h2>\n' + "\n".join(section.elements) + "</section>\n"
        for i, section in enumerate(full)
    ]
    styles, runs = style() + _style(), [page_script()] if board else []
    return _PAGE.format(
        policy=html_page.policy(styles, runs, images=True),
        title=text(title),
        style=styles,
        lead="".join(lead),
        links="".join(links),
        sections="".join(bodies),
        scripts=html_page.scripts(board) if board else "",
    )


def text(words: object) -> str:
    """Return a text of any origin as HTML that shows it and does nothing else."""
    return escape(visible(words))


def paragraph(words: object, kind: str = "") -> str:
    """Return a paragraph; ``kind`` is ``answer`` for what a reader should see first, or ``note`` for small print."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def items(lines: Sequence[object], kind: str = "") -> str:
    """Return a list, an item a line; ``kind`` as for a paragraph."""
    return f'<ul class="{kind}">{"".join(f"<li>{text(line)}</li>" for line in lines)}</ul>'


def statements(said: Sequence[tuple[object, Sequence[object]]], kind: str = "") -> str:
    """Return a list of statements, each with the lines that it rests on below it; ``kind`` as for a paragraph.

    A statement that rests on something stands out, so that the list can be read without what is below.
    """
    each = []
    for words, grounds in said:
        below = "".join(f'<p class="ground">{text(line)}</p>' for line in grounds)
        each.append(f"<li><b>{text(words)}</b>{below}</li>" if below else f"<li>{text(words)}</li>")
    return f'<ul class="{kind}">{"".join(each)}</ul>'


def table(header: Sequence[object], rows: Sequence[Sequence[object]], note: str = "") -> str:
    """Return a table with a header and a note below it."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    caption = f"<caption>{text(note)}</caption>" if note else ""
    inner = f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide" tabindex="0" role="region" aria-label="table"><table>{inner}</table></div>'


def facts(rows: Sequence[tuple[object, object]]) -> str:
    """Return a list of names and what they stand for."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in rows)}</dl>"


def picture(png: bytes, caption: str) -> str:
    """Return a picture with its caption."""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return f'<figure><img src="{source}" alt="{text(caption)}"><figcaption>{text(caption)}</figcaption></figure>'


def code(lines: str) -> str:
    """Return lines of code as they are."""
    return f"<pre>{'<br>'.join(map(text, lines.splitlines()))}</pre>"


def folded(summary: str, elements: Sequence[str]) -> str:
    """Return elements that a click unfolds."""
    return f"<details><summary>{text(summary)}</summary>{''.join(elements)}</details>"


def interactive_board(png: bytes, caption: str) -> str:
    """Return the place of the board; where scripts do not run, a picture of it."""
    still = f"<noscript>{picture(png, caption)}</noscript>" if png else ""
    return f'{html_page.BOARD}{still}<p class="note">{text(caption)}</p>'


@cache
def _style() -> str:
    return (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
