import re

import matplotlib.pyplot as plt
import pytest

import kdlandscape as kdl
from tests.synthetic import demo_cube


@pytest.fixture
def paper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo_cube().to_netcdf("cube.nc")
    with kdl.open_cube("cube.nc") as cube:
        yield kdl.explore(cube).paper
    plt.close("all")


def test_the_preview_is_the_very_file_that_export_writes(paper):
    paper.draw()
    files = {path.suffix: path for path in paper.write()}
    pdf, png = files[".pdf"], files[".png"]
    assert paper.image.value == png.read_bytes()
    assert pdf.read_bytes().startswith(b"%PDF")
    assert str(pdf) == "figures/planes.pdf"
    assert "figures/planes.pdf" in paper.said.value


def test_the_venue_and_the_run_change_the_figure(paper):
    paper.draw()
    first = paper.image.value
    paper.venue.value = "icml2024"
    paper.draw()
    assert paper.image.value != first
    paper.whole.value = False
    assert paper.run == {"seed": 0, "lr_policy": "constant"}
    paper.draw()
    assert paper.said.value == ""


@pytest.mark.parametrize("kind", ["planes", "init_lambda", "plane", "surface", "heatmap"])
def test_the_copied_code_writes_the_same_bytes(paper, kind):
    paper.venue.value, paper.whole.value, paper.kind.value = "icml2024", kind == "init_lambda", kind
    paper.state.at = {**paper.state.at, "seed": 1, "init_lambda": 1}
    (png,) = [path for path in paper.write() if path.suffix == ".png"]
    expected = png.read_bytes()
    png.unlink()
    exec(paper.code.code, {})
    assert png.read_bytes() == expected


def test_every_figure_of_the_package_is_offered(paper):
    assert {"init_lambda", "planes", "plane", "surface", "heatmap"} <= set(paper.kind.options)
    assert not {"export", "venue_style", "line", "panels"} & set(paper.kind.options)
    paper.kind.value = "init_lambda"
    assert paper.path.value == "figures/init_lambda"


def test_a_figure_that_the_cube_cannot_give_says_what_is_missing():
    paper = kdl.explore(demo_cube().drop_vars("plane_loss")).paper
    paper.kind.value = "planes"
    paper.draw()
    assert re.search("planes</b> cannot be drawn from this cube: .*plane_loss.*; choose another", paper.said.value)
    assert paper.write() == []
