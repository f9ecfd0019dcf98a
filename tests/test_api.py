"""Every public name is documented, and the API page is what the docstrings say."""

import inspect
from pathlib import Path

import pytest

import kdlandscape as kdl
from kdlandscape.api import api_page

PAGE = Path(__file__).parents[1] / ".github" / "API.md"


def test_the_api_page_is_the_one_that_the_docstrings_give():
    assert PAGE.read_text(encoding="utf-8") == api_page(), "write it again: python -m kdlandscape.api > .github/API.md"


@pytest.mark.parametrize("name", [name for name in kdl.__all__ if not name.startswith("__")])
def test_every_public_name_has_a_docstring_that_says_what_it_gives(name):
    text = inspect.getdoc(getattr(kdl, name)) or ""
    assert text.splitlines()[0].endswith((".", ":", "?")) or "\n" in text
