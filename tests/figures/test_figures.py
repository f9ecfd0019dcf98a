import shutil
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pytest

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
    assert axes[0].get_ylabel() == "linear barrier to the teacher [nat]"
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


def test_planes_mark_teacher_init_and_student_where_they_are():
    axes = figures.planes(demo_cube())
    assert [ax.get_title() for ax in axes] == ["λ = 0", "λ = 0.25", "λ = 0.5"]
    marked = {line.get_label(): line.get_xydata()[0].tolist() for line in axes[1].lines}
    assert marked == {"teacher": [0, 0], "init": pytest.approx([0.45, 0.375]), "student": pytest.approx([0.75, 0])}
    limits = {tuple(ax.collections[0].get_clim()) for ax in axes}
    assert len(limits) == 1
    mesh = axes[0].collections[0].get_array().reshape(9, 9)
    expected = demo_cube()["plane_loss"][0, 0, 0].values
    np.testing.assert_allclose(mesh[6:, 6:], expected[6:, 6:])


def test_planes_show_the_first_run_that_is_done():
    cube = demo_cube()
    cube["done"].values[0] = False
    cube["plane_loss"] = cube["plane_loss"].where(cube["seed"] > 0) * (1 + cube["seed"])
    axes = figures.planes(cube)
    assert axes[0].collections[0].get_clim()[1] == pytest.approx(2 * float(demo_cube()["plane_loss"].max()))


def test_exporting_twice_gives_the_same_bytes(tmp_path):
    paths = {}
    for turn in ("a", "b"):
        paths[turn] = figures.export_study(demo_cube(), ["init_lambda", "planes"], tmp_path / turn)
    assert [path.name for path in paths["a"]] == ["init_lambda.pdf", "init_lambda.png", "planes.pdf", "planes.png"]
    for a, b in zip(paths["a"], paths["b"], strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert not [path for path in (tmp_path / "a").iterdir() if path not in paths["a"]]


@pytest.mark.skipif(not shutil.which("pdffonts"), reason="pdffonts is not installed")
def test_fonts_are_embedded(tmp_path):
    (pdf, _) = figures.export_study(demo_cube(), ["init_lambda"], tmp_path)
    rows = subprocess.run(["pdffonts", pdf], capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert rows
    assert all("TrueType" in row and " yes " in row for row in rows)


def test_an_unknown_venue_is_refused():
    with pytest.raises(ValueError, match=r"expected a venue of .*neurips2024.*; got 'neurips'"):
        figures.venue_style("neurips")
