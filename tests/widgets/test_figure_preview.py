import re
from html import unescape

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import kdlandscape as kdl
from kdlandscape.widgets.figure_preview import cube_figures
from tests.synthetic import demo_cube
from tests.widgets.cubes import spectra_cube, study_cube


@pytest.fixture
def explorer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study_cube(num_lambda=5, num=9).to_netcdf("cube.nc")
    with kdl.open_cube("cube.nc") as cube:
        yield kdl.explore(cube)
    plt.close("all")


def test_the_preview_is_the_very_file_that_export_writes(explorer):
    preview = explorer.preview
    preview.kind.value = "panel-0"
    preview.draw()
    files = {path.suffix: path for path in preview.write()}
    assert preview.image.value == files[".png"].read_bytes()
    assert files[".pdf"].read_bytes().startswith(b"%PDF")
    assert str(files[".pdf"]) == "figures/panel-0.pdf"
    assert "figures/panel-0.pdf" in preview.said.value
    with xr.open_dataset(files[".nc"]) as data:
        expected = explorer.cube["plane_loss"].sel(seed=0, lr_policy="constant", init_lambda=0)
        np.testing.assert_array_equal(data["value"], expected)
        assert data["value"].attrs["long_name"] == "loss [nat]"
    caption = files[".txt"].read_text(encoding="utf-8")
    assert caption.startswith("seed = 0, learning-rate policy = constant, λ = 0: top-1 agreement with the teacher")


@pytest.mark.parametrize("kind", ["panel-0", "panel-1", "panel-4"])
def test_the_copied_code_writes_the_same_bytes(explorer, kind):
    preview = explorer.preview
    explorer.state.at = {**explorer.state.at, "seed": 1, "init_lambda": 1}
    explorer.board.angle = [0.3, 0.9, 1.2]
    preview.venue.value, preview.kind.value = "icml2024", kind
    (png,) = [path for path in preview.write() if path.suffix == ".png"]
    expected = png.read_bytes()
    code = png.with_suffix(".py").read_text(encoding="utf-8")
    assert code == preview.code.code + "\n"
    png.unlink()
    exec(code, {})
    assert png.read_bytes() == expected


def test_the_data_beside_a_figure_of_lines_are_those_of_its_lines(explorer):
    explorer.preview.kind.value = "panel-4"
    (table,) = [path for path in explorer.preview.write() if path.suffix == ".csv"]
    drawn = explorer.shown().panels[4]["lines"]
    rows = table.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "line,place,x,y"
    assert len(rows) == 1 + sum(len(line["x"]) for line in drawn)


def axes_of(explorer, panel):
    return explorer.figure(panel).axes


def test_the_plane_on_paper_has_the_colours_limits_and_marks_of_the_board(explorer):
    explorer.state.colors = "magma"
    panel = explorer.shown().panels[0]
    ax, bar = axes_of(explorer, 0)
    mesh = ax.collections[0]
    assert mesh.get_cmap().name == "magma"
    assert (mesh.norm.vmin, mesh.norm.vmax) == pytest.approx(panel["limits"])
    assert type(mesh.norm).__name__ == "LogNorm"
    assert bar.get_ylabel() == "loss [nat]"
    assert [text.get_text().strip() for text in ax.get_legend().get_texts()] == ["teacher", "init", "student"]
    assert ax.get_ylim()[0] < ax.get_ylim()[1]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x [teacher–random distance]", "y [teacher–random distance]")


def test_the_surface_on_paper_is_seen_from_the_angle_of_the_board(explorer):
    explorer.board.angle = [0.0, 0.5, 1.0]
    (ax,) = axes_of(explorer, 1)
    assert (ax.azim, ax.elev) == pytest.approx((-90, np.degrees(0.5)))
    explorer.board.angle = [np.pi / 2, 0.5, 1.0]
    assert axes_of(explorer, 1)[0].azim % 360 == pytest.approx(180)


def test_a_map_of_categories_on_paper_has_blocks_and_its_own_words(explorer):
    explorer.state.variable = "barrier"
    explorer.state.y = "lr_policy"
    ax, bar = axes_of(explorer, 0)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["constant", "scaled"]
    assert len(ax.collections) == 1  # the blocks, and no contours between them
    assert bar.get_ylabel() == "linear barrier to the teacher [nat]"


def test_only_figures_that_can_be_drawn_are_offered(explorer):
    assert {"init_lambda", "planes"} <= set(cube_figures(demo_cube()))
    assert "basins" not in cube_figures(demo_cube())
    assert cube_figures(spectra_cube()) == ["overview"]  # which any cube has
    preview = explorer.preview
    preview.offer(whole=True)
    offered = dict(preview.kind.options)
    assert next(iter(offered)) == "the whole board"
    assert sum(name.startswith("panel: ") for name in offered) == len(explorer.shown().panels)
    for kind in offered.values():
        preview.kind.value = kind
        assert preview.figure().axes


def test_what_the_board_does_not_show_is_not_offered():
    explorer = kdl.explore(study_cube(num_lambda=3, num=5), at={"seed": 2, "lr_policy": "scaled"})
    assert "panel-0" not in dict(explorer.preview.kind.options).values()
    with pytest.raises(ValueError, match=r"panel: expected one of 0 to \d+, got 99"):
        explorer.figure(99)


def test_a_place_that_cannot_be_written_is_said_and_escaped(explorer, tmp_path):
    (tmp_path / "<b>file").write_text("")
    explorer.preview.path.value = str(tmp_path / "<b>file" / "x")
    assert explorer.preview.write() == []
    assert "<b>" not in explorer.preview.said.value
    assert re.search(r"the whole board cannot be drawn: .*<b>file", unescape(explorer.preview.said.value))


def test_a_picture_stands_in_where_there_is_no_kernel(explorer):
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/png"].startswith("iVBORw0KGgo")
