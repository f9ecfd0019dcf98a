import json
import re

import kdlandscape as kdl
from tests.widgets.cubes import study_cube


def test_a_page_holds_every_cell_of_the_story_and_asks_nobody_for_anything(tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=5), view="story", at={"init_lambda": 0.5})
    text = explorer.save_page(tmp_path / "deep" / "view.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)\s*=|@import|https?://", text)
    assert "default-src 'none'" in text
    data = json.loads(re.search(r"const \{ scenes, names, places, buffers \} = (\{.*\});\n", text)[1])
    assert data["names"] == ["0", "0.25", "0.5", "0.75", "1"]
    assert 'value="2"' in text
    assert len(data["buffers"]) == 6  # five planes and one colour map: seen from the side, a plane is the same numbers


def test_a_long_story_is_thinned_and_keeps_the_present_cell(tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=101, num=5, seeds=1), at={"init_lambda": 0.33})
    text = explorer.save_page(tmp_path / "view.html").read_text(encoding="utf-8")
    names = json.loads(re.search(r'"names": (\[.*?\])', text)[1])
    assert len(names) == 42
    assert "0.33" in names


def test_the_form_says_where_the_page_was_written(tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=2, num=5))
    explorer.page_path.value = str(tmp_path / "form.html")
    explorer.page_button.click()
    assert (tmp_path / "form.html").exists()
    assert "form.html" in explorer.page_said.value
