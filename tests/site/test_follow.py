"""The tutorials, followed as by a new user: with the wheel alone, from an empty folder, word for word."""

import nbformat
import pytest

from tests.site.follow import TUTORIALS, FollowError, code_of, follow, state, stated, steps
from tests.site.sizes import SMALL_PAGES

NAMES = sorted(page.stem for page in TUTORIALS.glob("*.md"))


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_leads_to_its_end_from_an_empty_folder_with_the_wheel_alone(name, installed, tmp_path):
    follow(TUTORIALS / f"{name}.md", installed, tmp_path / "new", SMALL_PAGES.get(f"tutorials/{name}"))
    done = nbformat.read(tmp_path / "new" / "done.ipynb", as_version=4)
    assert all(cell.execution_count for cell in done.cells)
    printed = "".join(output.get("text", "") for cell in done.cells for output in cell.outputs)
    assert str(TUTORIALS.parents[2]) not in printed


def test_a_step_that_fails_is_told_with_its_error(installed, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\nType this:\n\n```sh\nkdlandscape status none\n```\n")
    with pytest.raises(FollowError, match=r"(?s)page.md: expected every step to work, got.*CalledProcessError"):
        follow(page, installed, tmp_path / "new")


def test_the_steps_of_a_page_are_its_cells_and_commands_in_their_order(tmp_path):
    page = tmp_path / "page.md"
    cell = "```{code-cell} ipython3\n:tags: [parameters]\n\nx: int = 1\n```\n"
    page.write_text(f"# A\n\n{cell}\nThen:\n\n```sh\nls\n```\n\n```python\nnot run\n```\n\n{cell}")
    cells = steps(page).cells
    assert [one.source for one in cells] == ["x: int = 1", "%%bash\nset -e\nls\n", "x: int = 1"]
    assert cells[0].metadata["tags"] == ["parameters"]


def test_a_time_is_written_below_the_title_once_and_holds_for_the_code_of_its_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n\nText.\n\n```sh\nls\n```\n")
    assert stated(page) is None
    for said in ("It took 3 seconds.", "It took\n4 seconds."):
        state(page, said)
        assert stated(page) == (code_of(page), f"*{said}*")
    assert page.read_text().count("seconds") == 1
    page.write_text(page.read_text().replace("ls", "ls -l"))
    assert stated(page)[0] != code_of(page)


@pytest.mark.parametrize("name", NAMES)
def test_each_tutorial_states_the_time_that_its_code_took(name):
    code, said = stated(TUTORIALS / f"{name}.md")
    assert code == code_of(TUTORIALS / f"{name}.md"), f"measure it again: python -m tests.site.follow {name}"
    assert "from an empty folder with the wheel alone" in said
