import base64
import hashlib
import json
import re

import kdlandscape as kdl
from tests.widgets.cubes import study_cube


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_page_holds_every_cell_of_the_story_and_asks_nobody_for_anything(tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=5, seeds=1), view="story", at={"init_lambda": 0.5})
    text = explorer.save_page(tmp_path / "deep" / "view.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)\s*=|@import|https?://", text)
    data = data_of(text)
    assert [dim["dim"] for dim in data["dims"]] == ["init_lambda", "lr_policy"]
    story = data["dims"][0]
    assert (story["name"], story["texts"], story["start"]) == ("λ", ["0", "0.25", "0.5", "0.75", "1"], 2)
    assert len(data["scenes"]) == 10
    assert data["scenes"][4]["sentence"].startswith("learning-rate policy = constant, λ = 0.5: ")
    assert len(data["buffers"]) == 6  # five planes and one colour map: seen from the side, a plane is the same numbers


def test_nothing_runs_on_a_page_but_its_own_script(tmp_path):
    text = (
        kdl.explore(study_cube(num_lambda=2, num=5, seeds=1)).save_page(tmp_path / "a.html").read_text(encoding="utf-8")
    )
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for element, rule in (('script type="module"', "script-src"), ("style", "style-src")):
        body = re.search(f"<{element}>(.*?)</{element.split()[0]}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert "style=" not in text.split('<script type="module">')[0]


def test_a_long_story_is_thinned_and_keeps_the_present_cell(tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=101, num=5, seeds=1), at={"init_lambda": 0.33})
    story = data_of(explorer.save_page(tmp_path / "view.html").read_text(encoding="utf-8"))["dims"][0]
    assert len(story["texts"]) == 42
    assert story["texts"][story["start"]] == "0.33"


def test_the_form_says_where_the_page_was_written(tmp_path):
    explorer = kdl.explore(study_cube(num_lambda=2, num=5, seeds=1))
    explorer.page_path.value = str(tmp_path / "form.html")
    explorer.page_button.click()
    assert (tmp_path / "form.html").exists()
    assert "form.html" in explorer.page_said.value
    (tmp_path / "<i>").write_text("")
    explorer.page_path.value = str(tmp_path / "<i>" / "form.html")
    explorer.page_button.click()
    assert "expected a file that can be written" in explorer.page_said.value
    assert "<i>" not in explorer.page_said.value
