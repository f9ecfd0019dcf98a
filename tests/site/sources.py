"""The source folder of the site: its own pages, executed, and what the rest of the repository has to say."""

import base64
import re
import shutil
import time
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

import kdlandscape as kdl
from tests.bench import goals
from tests.bench.goals import RESULTS
from tests.site.api_pages import write_api
from tests.site.executions import NOTEBOOKS, ROOT, Executions
from tests.site.sizes import SMALL_PAGES

SITE = ROOT / ".github" / "site"
WIDGET = "application/vnd.jupyter.widget-view+json"


def write_sources(executions: Executions, folder: Path) -> dict[str, float]:
    """Write the source folder; return the seconds that each page with code took."""
    shutil.copytree(SITE, folder)
    seconds = _execute_own_pages(executions, folder)
    _write_gallery(executions, folder / "gallery")
    _write_live(executions, folder)
    _write_repository_pages(folder)
    write_api(folder / "api")
    _write_benchmarks(folder / "benchmarks")
    return seconds


def pages_with_code(folder: Path = SITE) -> list[Path]:
    """Return the site's own pages that hold code to execute."""
    return sorted(path for path in folder.rglob("*.md") if "```{code-cell}" in path.read_text(encoding="utf-8"))


def _execute_own_pages(executions: Executions, folder: Path) -> dict[str, float]:
    given, seconds, pages = {} if executions.full else SMALL_PAGES, {}, {}
    for path in pages_with_code(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        page = read_myst_markdown_notebook(_to_executed(path, path.read_text(encoding="utf-8")))
        inject(page, given.get(name, {}))
        started = time.perf_counter()
        executions.page(page, folder.parent / "work" / name)
        seconds[name] = time.perf_counter() - started
        pages[path] = page
    for path, page in pages.items():
        path.unlink()
        _write_notebook(page, path.with_suffix(".ipynb"))
    return seconds


def _to_executed(page: Path, text: str) -> str:
    """Let links to pages with code lead to what becomes of them."""

    def link(match: re.Match) -> str:
        target = page.parent / f"{match[1]}.md"
        executed = target.is_file() and "```{code-cell}" in target.read_text(encoding="utf-8")
        return f"]({match[1]}.ipynb)" if executed else match[0]

    return re.sub(r"\]\(([\w./]+)\.md\)", link, text)


def inject(notebook: nbformat.NotebookNode, given: dict) -> None:
    """Put a cell with other values after the parameters of a page, and say that it is there.

    Raises
    ------
    ValueError
        If the page has no parameters.
    """
    if not given:
        return
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(
            f"expected one cell with the tag 'parameters', got {len(tagged)}; tag the one with {list(given)}"
        )
    lines = ["# this build of the page is small", *(f"{name} = {value!r}" for name, value in given.items())]
    notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell("\n".join(lines)))


def _write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write an executed notebook as a page: widgets, which need a kernel, leave their picture."""
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for cell in notebook.cells:
        cell.metadata = {"tags": [tag for tag in cell.metadata.get("tags", []) if tag != "parameters"]}
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("data") != {}]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.from_dict(notebook), path)


def _write_gallery(executions: Executions, folder: Path) -> None:
    cards = {}
    names = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    for name in reversed(names):  # tests in another process begin at the other end, so neither waits for long
        notebook = nbformat.read(executions.notebook(name), as_version=4)
        _write_notebook(notebook, folder / name)
        cards[name] = _card(notebook, folder, name)
    size = "their own size" if executions.full else "the small size of the tests, so its numbers are those of toys"
    said = f"The notebooks of the package, executed at {size}. `kdlandscape new` copies one for you to change."
    toc = _hidden_toc(names)
    text = f"# Gallery\n\n{said}\n\n::::{{container}} kdl-cards\n{''.join(cards[name] for name in names)}::::\n\n{toc}"
    (folder / "index.md").write_text(text, encoding="utf-8")


def _card(notebook: nbformat.NotebookNode, folder: Path, name: str) -> str:
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    for cell in reversed(notebook.cells):
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                (folder / f"{name}.png").write_bytes(base64.b64decode(picture))
                return f":::{{container}}\n[![{title}]({name}.png)]({name})\n\n[{title}]({name})\n:::\n"
    return f":::{{container}}\n[{title}]({name})\n:::\n"


def _write_live(executions: Executions, folder: Path) -> None:
    """Write an explorer of each of two studies as a file that opens without a kernel."""
    live = folder / "_live"
    live.mkdir()
    for study in ("demo", "basins"):
        with kdl.open_cube(executions.study(study)) as cube:
            kdl.explore(cube.load()).save_page(live / f"{study}_explorer.html")


def _write_repository_pages(folder: Path) -> None:
    """Bring the pages that readers of the repository look for in its hidden folder, with links that hold here."""
    place = ROOT / ".github"
    about = folder / "project"
    about.mkdir()
    for name in ("SECURITY", "CLAIMS", "HISTORY", "CONTRIBUTING"):
        text = (place / f"{name}.md").read_text(encoding="utf-8")
        (about / f"{name.lower()}.md").write_text(_without_repository_links(text), encoding="utf-8")
    for picture in place.glob("*.png"):
        shutil.copyfile(picture, about / picture.name)


def _without_repository_links(text: str) -> str:
    """Keep the words of links to files that are no pages of the site."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:)(?![\w./]*\.png)[^)#]+\)", r"\1", text)


def _write_benchmarks(folder: Path) -> None:
    """Bring the results of the benches, and the table of goals, which is the page's opening."""
    shutil.copytree(RESULTS, folder)
    names = sorted(path.stem for path in RESULTS.glob("*.md") if path != goals.PAGE)
    (folder / "goals.md").write_text(f"{goals.page()}\n{_hidden_toc(names)}", encoding="utf-8")


def _hidden_toc(names: list[str]) -> str:
    return "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"
