import re
import shutil
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from kdlandscape import figures
from tests.synthetic import INIT_LAMBDA, demo_cube


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_the_lambda_figure_draws_the_means_over_seeds():
    cube = demo_cube()
    axes = figures.init_lambda(cube)
    constant = axes[0].lines[0]
    np.testing.assert_allclose(constant.get_xdata(), INIT_LAMBDA)
    np.testing.assert_allclose(constant.get_ydata(), [3.15, 1.0, 0.001, 0.0])
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), [1.5, 1.2, 0.5])  # no ratio where there is no distance
    travelled = [line.get_ydata() for line in axes[1].lines if line.get_linestyle() == ":" and len(line.get_ydata())]
    assert len(travelled) == 2
    np.testing.assert_allclose(travelled[0], [0.8, 0.8, 0.8])
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == [
        "constant",
        "scaled",
        "to the teacher",
        "travelled",
    ]
    assert axes[0].get_ylabel().split() == ["linear", "barrier", "to", "the", "teacher", "[nat]"]
    texts = [text.get_text() for text in axes[2].get_legend().get_texts()]
    assert texts == ["train, student", "train, independent", "test, student", "test, independent"]


def test_one_run_draws_as_well_as_a_cube():
    run = demo_cube().isel(seed=0, lr_policy=0, drop=True)
    axes = figures.init_lambda(run)
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), run["barrier"])


def test_the_figure_draws_on_the_axes_it_is_given():
    given = plt.subplots(1, 4)[1]
    assert (figures.init_lambda(demo_cube(), given) == given).all()
    given = plt.subplots(1, 3)[1]
    assert (figures.planes(demo_cube(), given, num=3) == given).all()


def marked(ax):
    """Return the marks of a plane by their names in the legend, whose entry is drawn before each."""
    entries = [line for line in ax.lines if not len(line.get_xydata())]
    marks = [line for line in ax.lines if len(line.get_xydata())]
    return {entry.get_label(): mark for entry, mark in zip(entries, marks, strict=True)}


def test_planes_mark_teacher_init_and_student_where_they_are():
    axes = figures.planes(demo_cube())
    assert [ax.get_title() for ax in axes] == ["λ = 0", "λ = 0.25", "λ = 0.5"]
    assert {name: mark.get_xydata()[0].tolist() for name, mark in marked(axes[1]).items()} == {
        "teacher": [0, 0],
        "initial student": pytest.approx([0.45, 0.375]),
        "student": pytest.approx([0.75, 0]),
    }
    limits = {tuple(ax.collections[0].get_clim()) for ax in axes}
    assert len(limits) == 1
    mesh = axes[0].collections[0].get_array().reshape(9, 9)
    expected = demo_cube()["plane_loss"][0, 0, 0].values
    np.testing.assert_allclose(mesh[6:, 6:], expected[6:, 6:])


def test_marks_have_the_colour_of_their_own_loss():
    cube = demo_cube()
    losses = np.broadcast_to([0.0, 2.0, 0.5], (4, 2, 4, 3))
    cube["plane_point_loss"] = ("seed", "lr_policy", "init_lambda", "point"), losses
    ax = figures.planes(cube)[0]
    mesh = ax.collections[0]
    colours = {name: mark.get_markerfacecolor() for name, mark in marked(ax).items()}
    np.testing.assert_allclose(colours["initial student"], mesh.to_rgba(2.0))
    np.testing.assert_allclose(colours["teacher"], mesh.to_rgba(mesh.get_clim()[0]))  # 0 has no place on a log scale


def test_contours_are_smooth_and_lie_where_the_loss_has_their_level():
    loss = demo_cube()["plane_loss"][0, 0, 0] + 0.1  # 0.1 + x² + y² on 9 by 9 points
    ax = figures.plane(loss).axes
    (contours,) = (each for each in ax.collections if hasattr(each, "levels"))
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        inner = path.vertices[(np.abs(path.vertices) < 0.45).all(1)]
        if len(inner) and level > 0.2:
            np.testing.assert_allclose(0.1 + (inner**2).sum(1), level, rtol=0.05)


def test_planes_show_the_first_run_that_is_done():
    cube = demo_cube()
    cube["run.done"].values[0] = False
    cube["plane_loss"] = cube["plane_loss"].where(cube["seed"] > 0) * (1 + cube["seed"])
    axes = figures.planes(cube)
    assert axes[0].collections[0].get_clim()[1] == pytest.approx(2 * float(demo_cube()["plane_loss"].max()))


def test_exporting_twice_gives_the_same_bytes(tmp_path):
    paths = {}
    for turn in ("a", "b"):
        paths[turn] = figures.export_study(demo_cube(), ["init_lambda", "planes"], tmp_path / turn)
    kinds = {path.suffix for path in paths["a"]}
    assert {".pdf", ".svg", ".png", ".txt"} <= kinds
    assert {path.stem for path in paths["a"]} == {"init_lambda", "planes"}
    for a, b in zip(paths["a"], paths["b"], strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert not [path for path in (tmp_path / "a").iterdir() if path not in paths["a"]]
    captions = {path.stem: " ".join(path.read_text().split()) for path in paths["a"] if path.suffix == ".txt"}
    assert {name: "standard error" in caption for name, caption in captions.items()} == {
        "init_lambda": True,
        "planes": False,
    }


@pytest.mark.skipif(not shutil.which("pdffonts"), reason="pdffonts is not installed")
def test_fonts_are_embedded(tmp_path):
    (pdf,) = (path for path in figures.export_study(demo_cube(), ["init_lambda"], tmp_path) if path.suffix == ".pdf")
    rows = subprocess.run(["pdffonts", pdf], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert rows
    assert all("TrueType" in row and " yes " in row for row in rows)


@pytest.mark.parametrize("venue", ["neurips2024", "icml2024", "iclr2024", "jmlr2001", "tmlr2023", "cvpr2024"])
def test_a_figure_has_its_venues_exact_width_and_no_clipped_label(venue, tmp_path):
    from tueplots import bundles

    width = getattr(bundles, venue)()["figure.figsize"][0]
    for path in figures.export_study(demo_cube(), ["init_lambda", "planes"], tmp_path, venue):
        if path.suffix == ".pdf":
            box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", path.read_bytes())
            assert float(box[1]) / 72 == pytest.approx(width, abs=0.01)
        if path.suffix == ".svg":
            assert float(re.search(r'width="([\d.]+)pt"', path.read_text())[1]) / 72 == pytest.approx(width, abs=0.01)
            assert ">λ = 0<" in path.read_text() or "init_lambda" in path.name  # text stays text
        if path.suffix == ".png":
            ink = plt.imread(path)[..., :3].min(-1) < 0.9
            assert ink.shape[1] / 300 == pytest.approx(width, abs=0.01)
            edges = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
            assert not edges.any(), "something is drawn up to the edge of the picture"


def test_an_exported_figure_carries_its_data_caption_and_provenance(tmp_path):
    cube = demo_cube()
    figure = figures.line(cube["barrier"], "init_lambda", hue="lr_policy").figure
    paths = figures.export(figure, tmp_path / "a", data=cube[["barrier"]], caption="What it shows.", about="study demo")
    assert [path.suffix for path in paths if path.suffix != ".pgf"] == [".csv", ".nc", ".pdf", ".png", ".svg", ".txt"]
    assert (tmp_path / "a.txt").read_text() == "What it shows.\n"
    with xr.open_dataset(tmp_path / "a.nc") as saved:
        xr.testing.assert_identical(saved["barrier"].load(), cube["barrier"])
    assert pd.read_csv(tmp_path / "a.csv")["barrier"].tolist() == pytest.approx(cube["barrier"].values.ravel().tolist())
    assert "study demo" in (tmp_path / "a.svg").read_text()
    assert b"study demo" in (tmp_path / "a.png").read_bytes()


def test_lines_differ_by_more_than_their_colour():
    axes = figures.init_lambda(demo_cube())
    lines = axes[0].lines[:2]
    assert len({line.get_marker() for line in lines}) == 2
    assert len({line.get_linestyle() for line in lines}) == 2


def test_colour_maps_keep_their_order_in_greyscale():
    cube = demo_cube()
    plane = figures.planes(cube)[0]
    heat, surface = (
        figures.heatmap(cube["barrier"], "init_lambda", "lr_policy"),
        figures.surface(cube["plane_loss"][0, 0, 0] + 1),
    )
    drawn = [ax.collections[0] for ax in (plane, heat, surface)]
    maps = {each.get_cmap().name: each.get_cmap() for each in drawn}
    assert maps
    for colours in maps.values():
        grey = colours(np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(grey) > 0).all()
        assert grey[-1] - grey[0] > 0.6


def test_points_of_a_plane_differ_by_their_shape():
    shapes = [mark.get_marker() for mark in marked(figures.planes(demo_cube())[0]).values()]
    assert len(shapes) >= 3
    assert len(set(shapes)) == len(shapes)


def test_panels_come_from_the_dims_of_a_cube_and_share_their_axes():
    cube = demo_cube()
    axes = figures.panels(cube["agreement"], figures.line, row="split", col="lr_policy", x="init_lambda")
    assert axes.shape == (2, 2)
    assert axes[1, 0].get_title().split() == ["split", "=", "test,", "learning-rate", "policy", "=", "constant"]
    np.testing.assert_allclose(axes[1, 1].lines[0].get_ydata(), cube["agreement"][0, 1, 1])
    assert axes[0, 0].get_ylim() == axes[1, 1].get_ylim()
    with pytest.raises(ValueError, match="expected a dim of seed, lr_policy, split, init_lambda; got 'seeds'"):
        figures.panels(cube["agreement"], figures.line, row="seeds", x="init_lambda")


def test_a_heat_map_shows_means_and_crosses_out_missing_cells():
    barrier = demo_cube()["barrier"].copy()
    barrier[:, 1, 2] = np.nan
    ax = figures.heatmap(barrier, "init_lambda", "lr_policy")
    assert ax.collections[0].get_array().data.ravel()[0] == pytest.approx(3.15)
    assert [text.get_text() for text in ax.texts] == ["3.15", "1.00", "0.00", "0.00", "3.15", "1.00", "0.00", "×"]


def test_fidelity_is_drawn_against_accuracy_beside_the_independent_baseline():
    cube = demo_cube()
    cube["student_accuracy"] = cube["agreement"] * 0.5
    ax = figures.fidelity_accuracy(cube, hue="lr_policy")
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in ax.collections if len(points.get_offsets())])
    expected = cube["agreement"].sel(split="test").values.ravel()
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(expected))
    np.testing.assert_allclose(drawn[:, 1], drawn[:, 0] * 0.5)
    (baseline,) = (line for line in ax.lines if line.get_label() == "independent students")
    assert baseline.get_xdata()[0] == pytest.approx(0.6)


def test_a_surface_has_the_logarithm_of_the_loss_as_its_height():
    loss = demo_cube()["plane_loss"][0, 0, 0] + 1
    ax = figures.surface(loss)
    assert ax.get_zlim()[1] == pytest.approx(np.log10(float(loss.max())), abs=0.1)
    with pytest.raises(ValueError, match="projection='3d'"):
        figures.surface(loss, plt.subplots()[1])


def test_a_plane_keeps_holes_white_and_joins_a_trajectory():
    loss = demo_cube()["plane_loss"][0, 0, 0].copy() + 1
    loss[2, 3] = np.nan
    steps = xr.DataArray([[0.0, 1.0], [0.5, 0.5]], dims=("step", "axis"), coords={"axis": ["x", "y"]})
    mesh = figures.plane(loss, points=steps)
    assert np.ma.getmaskarray(mesh.get_array()).reshape(9, 9).nonzero() == (np.array([2]), np.array([3]))
    np.testing.assert_allclose(mesh.axes.lines[0].get_xydata(), steps)


def test_what_cannot_be_drawn_says_what_is_missing():
    cube = demo_cube()
    with pytest.raises(ValueError, match="some finite positive values of 'plane_loss'"):
        figures.plane(cube["plane_loss"][0, 0, 0] * np.nan)
    with pytest.raises(ValueError, match="at least one finished run"):
        figures.planes(cube.assign({"run.done": cube["run.done"] & False}))
    words = cube["plane_loss"][0, 0, 0].assign_coords(x=list("abcdefghi"))
    with pytest.raises(ValueError, match=r"expected numbers along x, got \['a', 'b', 'c'\]; use heatmap"):
        figures.plane(words)
    with pytest.raises(ValueError, match="some λ below 1"):
        figures.planes(cube.sel(init_lambda=[1.0]))


def test_an_unknown_venue_is_refused():
    with pytest.raises(ValueError, match=r"expected a venue of .*neurips2024.*; got 'neurips'"):
        figures.venue_style("neurips")
