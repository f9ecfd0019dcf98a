import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from kdlandscape import figures
from kdlandscape.figures.verdicts import STYLES
from kdlandscape.studies.claims import Claim, Number, value, verdicts


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def study():
    rng = np.random.default_rng(0)
    dims = ("augmentation", "split", "seed", "temperature", "hard_weight")
    shape = (2, 2, 3, 1, 1)
    coords = {"augmentation": ["none", "mixup"], "split": ["train", "test"], "seed": [0, 1, 2], "temperature": [4.0],
              "hard_weight": [0.0]}  # fmt: skip
    return xr.Dataset({name: (dims, rng.random(shape)) for name in ("agreement", "control_agreement")}, coords)


def test_every_claim_gets_a_picture_with_its_seeds_and_its_side():
    cube = study()
    middle = float(cube["agreement"].sel(augmentation="none", split="test").mean())
    claims = [
        Claim(name, "Fig. 3", "s", Number(at, "n", value("agreement", augmentation="none", split="test")), above=bound)
        for name, at, bound in (("a", "s", -2.0), ("b", "s", 2.0), ("c", "s", middle), ("d", "other", 0.0))
    ]
    table = verdicts(claims, {"s": cube})
    axes = figures.claims(table.expand_dims(level=[0.95]))
    assert len(axes) == 4
    seeds = np.sort(axes[0].lines[0].get_xdata())
    np.testing.assert_allclose(seeds, np.sort(cube["agreement"].sel(augmentation="none", split="test").values.ravel()))
    outcomes = ["reproduced", "contradicted", "undecided", "not testable here"]
    assert [ax.title.get_color() for ax in axes] == [STYLES[outcome][0] for outcome in outcomes]
    marks = [ax.lines[1].get_marker() for ax in axes[:3]]
    assert marks == [STYLES[outcome][1] for outcome in outcomes[:3]]
    assert len(set(marks)) == 3
    assert axes[3].get_title() == "d: not testable here"


def test_another_run_with_other_seeds_stands_below_the_first():
    number = Number("s", "n", value("agreement", augmentation="none", split="test"))
    runs = [verdicts([Claim("a", "Fig. 3", "s", number, above=-2.0)], {"s": study() + shift}) for shift in (0.0, 0.5)]
    both = xr.concat([run.expand_dims(seeds_from=[k]) for k, run in ((0, runs[0]), (1000, runs[1]))], "seeds_from")
    ax = figures.claims(both)[0]
    means = [(bars.lines[0].get_xdata().item(), bars.lines[0].get_ydata().item()) for bars in ax.containers]
    assert [x for x, _ in means] == pytest.approx([run["mean"].item() for run in runs])
    assert means[0][1] == 0 > means[1][1] > ax.get_ylim()[0]


def test_every_arm_is_a_row_with_its_means():
    cube = study()
    ax = figures.agreement(cube)[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["augmentation = none", "augmentation = mixup"]
    test = ax.containers[1].lines[0].get_xdata()
    np.testing.assert_allclose(test, cube["agreement"].sel(split="test").mean("seed").values.ravel())


def test_one_run_draws_as_well():
    run = study().isel(augmentation=0, drop=True)
    assert [text.get_text() for text in figures.agreement(run)[0].get_yticklabels()] == ["all"]
