import re

import matplotlib.pyplot as plt
import pytest

import kdlandscape as kdl
from tests.synthetic import demo_cube


@pytest.fixture
def preview(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo_cube().to_netcdf("cube.nc")
    with kdl.open_cube("cube.nc") as cube:
        yield kdl.explore(cube).preview
    plt.close("all")


def test_the_preview_is_the_very_file_that_export_writes(preview):
    preview.draw()
    files = {path.suffix: path for path in preview.write()}
    pdf, png = files[".pdf"], files[".png"]
    assert preview.image.value == png.read_bytes()
    assert pdf.read_bytes().startswith(b"%PDF")
    assert str(pdf) == "figures/planes.pdf"
    assert "figures/planes.pdf" in preview.said.value


def test_the_venue_and_the_run_change_the_figure(preview):
    preview.draw()
    first = preview.image.value
    preview.venue.value = "icml2024"
    preview.draw()
    assert preview.image.value != first
    preview.whole.value = False
    assert preview.run == {"seed": 0, "lr_policy": "constant"}
    preview.draw()
    assert preview.said.value == ""


@pytest.mark.parametrize("kind", ["planes", "init_lambda", "plane", "surface", "heatmap"])
def test_the_copied_code_writes_the_same_bytes(preview, kind):
    preview.venue.value, preview.whole.value, preview.kind.value = "icml2024", kind == "init_lambda", kind
    preview.state.at = {**preview.state.at, "seed": 1, "init_lambda": 1}
    (png,) = [path for path in preview.write() if path.suffix == ".png"]
    expected = png.read_bytes()
    png.unlink()
    exec(preview.code.code, {})
    assert png.read_bytes() == expected


def test_every_figure_of_the_package_is_offered(preview):
    assert {"init_lambda", "planes", "plane", "surface", "heatmap"} <= set(preview.kind.options)
    assert not {"export", "venue_style", "line", "panels"} & set(preview.kind.options)
    preview.kind.value = "init_lambda"
    assert preview.path.value == "figures/init_lambda"


def test_a_figure_that_the_cube_cannot_give_says_what_is_missing():
    preview = kdl.explore(demo_cube().drop_vars("plane_loss")).preview
    preview.kind.value = "planes"
    preview.draw()
    assert re.search("planes</b> cannot be drawn from this cube: .*plane_loss.*; choose another", preview.said.value)
    assert preview.write() == []
