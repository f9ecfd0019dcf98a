import numpy as np
import pytest
import xarray as xr
from scipy import stats

from kdlandscape.studies.flatness_ratios import findings, flatness_of_run, relative

RATIOS = np.array([0.5, 0.6, 0.4, 0.55])


def cube():
    teacher = np.array([10.0, 20.0, 30.0, 40.0])
    top = np.stack([teacher, teacher * RATIOS, teacher * [0.5, 2.0, 0.9, 1.2]])
    eigenvalues = np.stack([top, np.ones_like(top)], -1)
    coords = {"member": ["teacher", "0.0", "1.0"], "seed": range(4), "eigenvalue": [0, 1]}
    return xr.Dataset(
        {"eigenvalues": (("member", "seed", "eigenvalue"), eigenvalues), "trace": (("member", "seed"), -top)}, coords
    )


def test_a_student_is_compared_with_its_own_teacher_on_a_logarithmic_scale():
    mean, sem = np.log(RATIOS).mean(), stats.sem(np.log(RATIOS))
    low, high = np.exp(np.array(stats.t.interval(0.95, 3, loc=mean, scale=sem)))
    ratio = f"{np.exp(mean):.2f} ({low:.2f} to {high:.2f})"
    said = f"member = 0.0: largest eigenvalue {ratio} times the teacher's, 4 seeds: flatter"
    assert findings(cube())[0].split(";")[0] == said
    assert "undecided" in findings(cube())[1].split(";")[0]


def test_a_measure_that_is_not_positive_has_no_ratio():
    assert relative(cube())["trace"].isnull().all()
    assert findings(cube())[0].endswith("trace: not decided, 0 seeds are done and a verdict needs at least 3")


def test_a_cube_without_members_is_refused():
    with pytest.raises(ValueError, match="expected eigenvalues over the dims member, seed; member missing"):
        findings(cube().isel(member=0))
    with pytest.raises(ValueError, match="expected eigenvalues over the dims member, seed; seed missing"):
        findings(cube().isel(seed=0))


def test_one_run_gives_its_ratios_without_a_verdict():
    first, _ = flatness_of_run(cube().isel(seed=0))
    assert first.startswith("student 0.0: largest eigenvalue 0.50, ")
    assert first.endswith("times the teacher's (one seed: no verdict)")
