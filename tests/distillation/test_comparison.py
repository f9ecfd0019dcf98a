import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.metrics import accuracy_score, log_loss

from kdlandscape.distillation.comparison import excess, fidelity


def logits(seed, *shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_number_equals_an_independent_formula():
    z_t, z_s = logits(0, 200, 5), logits(1, 200, 5)
    targets = torch.randint(5, (200,), generator=torch.Generator().manual_seed(2))
    f = {name: float(value) for name, value in fidelity(z_t, z_s, targets).items()}
    p, q, y = softmax(z_t.numpy(), -1), softmax(z_s.numpy(), -1), targets.numpy()
    top_p, top_q = p.argmax(-1), q.argmax(-1)
    m = (p + q) / 2
    expected = {
        "agreement": (top_p == top_q).mean(),
        "kl_teacher_student": rel_entr(p, q).sum(-1).mean(),
        "kl_student_teacher": rel_entr(q, p).sum(-1).mean(),
        "jensen_shannon": (rel_entr(p, m).sum(-1).mean() + rel_entr(q, m).sum(-1).mean()) / 2,
        "total_variation": np.maximum(p - q, 0).sum(-1).mean(),
        "teacher_accuracy": accuracy_score(y, top_p),
        "student_accuracy": accuracy_score(y, top_q),
        "teacher_nll": log_loss(y, p),
        "student_nll": -log_softmax(z_s.numpy(), -1)[np.arange(200), y].mean(),
        "agreement_teacher_right": (top_p == top_q)[top_p == y].mean(),
        "agreement_teacher_wrong": (top_p == top_q)[top_p != y].mean(),
    }
    for name, value in expected.items():
        assert f[name] == pytest.approx(value, rel=1e-10), name


def test_a_perfect_student_agrees_wholly_and_has_no_divergence():
    z = logits(0, 50, 5)
    f = fidelity(z, z)
    assert f["agreement"] == 1
    for name in ("kl_teacher_student", "kl_student_teacher", "jensen_shannon", "total_variation"):
        assert float(f[name]) == pytest.approx(0, abs=1e-15)


def test_agreement_lies_within_the_bounds_that_the_accuracies_allow():
    targets = torch.randint(3, (40,), generator=torch.Generator().manual_seed(2))
    for seed in range(50):
        truth = 4.0 * torch.nn.functional.one_hot(targets, 3)
        f = fidelity(logits(seed, 40, 3) + truth, logits(seed + 100, 40, 3) + truth, targets)
        assert f["agreement_min"] - 1e-12 <= f["agreement"] <= f["agreement_max"] + 1e-12


def test_leading_axes_are_kept_and_broadcast():
    z_t, z_s = logits(0, 30, 4), logits(1, 2, 3, 30, 4)
    targets = torch.zeros(30, dtype=torch.long)
    f = fidelity(z_t, z_s, targets, dims=("seed", "arm"))
    assert all(value.dims == ("seed", "arm") for value in f.values())
    one = fidelity(z_t, z_s[1, 2], targets)
    xr.testing.assert_allclose(f.isel(seed=1, arm=2), one)
    assert fidelity(z_t, z_s[0]).sizes == {"student": 3}
    with pytest.raises(ValueError, match=r"a name in dims for each of the 2 leading axes of the logits"):
        fidelity(z_t, z_s, dims="seed")


def test_calibration_error_uses_right_closed_bins():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [1.0, 0.0]])
    with np.errstate(divide="ignore"):
        z = torch.from_numpy(np.log(probabilities))
    # 15 bins: 0.8 closes (11/15, 12/15] twice, 0.6 closes (8/15, 9/15], 1 closes the last
    found = fidelity(z, z, torch.tensor([0, 1, 0, 0]))
    assert float(found["teacher_ece"]) == pytest.approx((2 * abs(0.5 - 0.8) + 0.4 + 0) / 4)


def test_every_number_says_what_it_is():
    z, targets = logits(0, 30, 4), torch.zeros(30, dtype=torch.long)
    found = fidelity(z, logits(1, 30, 4), targets)
    assert all({"long_name", "units"} <= set(value.attrs) for value in found.values())
    assert found["kl_teacher_student"].attrs == {"long_name": "KL(teacher ‖ student)", "units": "nat"}
    assert found["student_nll"].attrs == {"long_name": "student negative log likelihood", "units": "nat"}
    assert found["agreement_min"].attrs["units"] == "1"


def test_the_excess_is_what_students_agree_beyond_independent_ones():
    z, targets = logits(0, 30, 4), torch.zeros(30, dtype=torch.long)
    found, control = (fidelity(z, logits(seed, 2, 30, 4), targets) for seed in (1, 2))
    beyond = excess(found, control)
    np.testing.assert_allclose(beyond["excess_agreement"], found["agreement"] - control["agreement"])
    np.testing.assert_allclose(beyond["control_kl"], control["kl_teacher_student"])
    assert beyond["excess_teacher_wrong"].attrs["long_name"] == "excess agreement where the teacher is wrong"
    assert "excess_teacher_wrong" not in excess(fidelity(z, z), fidelity(z, z))


def test_agreement_where_the_teacher_is_never_wrong_is_nan():
    z = 9 * torch.eye(3, dtype=torch.float64)
    assert np.isnan(fidelity(z, z, torch.arange(3))["agreement_teacher_wrong"])


def test_confident_logits_give_finite_numbers():
    z = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    assert all(np.isfinite(value).all() for value in fidelity(z, z).values())


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"same examples and classes, got \(3, 4\) for the teacher and \(3, 5\)"):
        fidelity(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"targets of shape \(3,\), got \(2,\)"):
        fidelity(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(2, dtype=torch.long))
