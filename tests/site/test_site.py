"""The site, built as CI builds it: no warning, no link to nowhere, no request to another machine."""

import inspect

import nbformat
import pytest

import kdlandscape as kdl
from tests.site import links
from tests.site.api_pages import inner_names
from tests.site.executions import NOTEBOOKS
from tests.site.references import documented, public
from tests.site.sources import pages_with_code


def test_the_site_builds_without_a_warning_and_shows_every_notebook(site):
    made = {path.relative_to(site / "html").as_posix() for path in (site / "html").rglob("*.html")}
    assert {"index.html", "search.html", "live.html", "demo_explorer.html", "basins_explorer.html"} <= made
    assert {f"gallery/{path.stem}.html" for path in NOTEBOOKS.glob("*.ipynb")} <= made


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_another_machine(site):
    assert not list(links.broken(site / "html"))
    assert not list(links.foreign(site / "html"))


def test_a_link_to_nowhere_and_a_foreign_script_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html"></a><a href="#no"></a><script src="https://x.y/z.js"></script>')
    assert list(links.broken(tmp_path)) == ["a.html: b.html", "a.html: #no"]
    assert list(links.foreign(tmp_path)) == ["a.html: https://x.y/z.js"]


def test_every_page_with_code_was_executed_to_its_end(site):
    pages = sorted((site / "source").rglob("*.ipynb"))
    assert len(pages) == len(list(NOTEBOOKS.glob("*.ipynb"))) + len(pages_with_code())
    for path in pages:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in cells), path
        assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"], path


def test_no_page_is_larger_than_3_megabytes(site):
    for path in (site / "html").rglob("*.html"):
        assert path.stat().st_size < 3_000_000, path
    assert not (list((site / "html").rglob("*.map")))


def test_every_public_name_has_its_entry(site):
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "html" / "api").glob("*.html"))
    assert not [name for name in public().values() if f'id="{name}"' not in pages]
    assert not [name for name in inner_names() if f'id="{name}"' not in pages]


@pytest.mark.parametrize(
    ("name", "near", "place"),
    [
        ("align", "kdlandscape.landscape.permutations.repair", "kdlandscape.align"),
        ("kdlandscape.distillation.training.train", "kdlandscape.cubes", "kdlandscape.train"),
        ("Curvature.trace", "kdlandscape.landscape.curvature.questions", "kdlandscape.Curvature.trace"),
        ("CubeError", "kdlandscape.sweeps.record", "kdlandscape.cubes.assembly.CubeError"),
        ("transformers", "kdlandscape.landscape.objective", None),
    ],
)
def test_a_name_in_a_docstring_leads_to_its_public_name(name, near, place):
    assert documented(name, near) == place


@pytest.mark.parametrize("name", [name for name in kdl.__all__ if not name.startswith("__")])
def test_every_public_name_has_a_docstring_that_says_what_it_gives(name):
    text = inspect.getdoc(getattr(kdl, name)) or ""
    assert text.splitlines()[0].endswith((".", ":", "?")) or "\n" in text
