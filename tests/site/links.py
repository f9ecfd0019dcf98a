"""Where the links of a built site lead, and what its pages load."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


class Page(HTMLParser):
    """The links, the loaded things and the anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Keep what a tag names."""
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(LOADING.get(tag, "")) and given.get("rel") not in ("index", "search", "next", "prev", "author"):
            self.loaded.append(given[LOADING[tag]])


def broken(root: Path) -> Iterator[str]:
    """Return every link of a site's pages that leads nowhere, with its page."""
    pages = {path: Page(path) for path in root.rglob("*.html")}
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            place, anchor = urldefrag(link.partition("?")[0] if "#" not in link else link)
            target = (path.parent / unquote(urlsplit(place).path)).resolve() if place else path
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                yield f"{path.relative_to(root)}: {link}"


def foreign(root: Path) -> Iterator[str]:
    """Return what pages load from another machine, with the page."""
    for path in root.rglob("*.html"):
        for place in Page(path).loaded:
            if urlsplit(place).netloc:
                yield f"{path.relative_to(root)}: {place}"
