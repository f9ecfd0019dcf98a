import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import entr, rel_entr, softmax

from kdlandscape.distillation.comparison import fidelity
from kdlandscape.distillation.metrics import METRICS, confidence_slope, invariance_agreement, shared_top_k


def draws(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_predictive_that_is_certain_is_compared_without_nan():
    certain = torch.eye(3, dtype=torch.float64)
    soft = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    found = fidelity(certain.log(), soft.log())
    assert float(found["kl_teacher_student"]) == pytest.approx(np.log(3))
    assert float(found["kl_student_teacher"]) == np.inf
    assert float(found["total_variation"]) == pytest.approx(2 / 3)
    assert float(found["jensen_shannon"]) > 0


def test_the_confidence_slope_is_that_of_a_regression_of_centred_logits():
    t = draws(50, 5)
    torch.testing.assert_close(confidence_slope(t, 1.7 * t + draws(50, 1, seed=3)), torch.tensor(1.7).double())
    s = draws(2, 50, 5, seed=1)
    for k in range(2):
        x, y = (z - z.mean(-1, keepdim=True) for z in (t, s[k]))
        slope = np.linalg.lstsq(x.numpy().reshape(-1, 1), y.numpy().ravel(), rcond=None)[0][0]
        assert float(confidence_slope(t, s)[k]) == pytest.approx(slope)


def test_the_confidence_slope_is_that_over_the_classes_that_neither_masks():
    t, s = draws(50, 5), draws(50, 5, seed=1)
    expected = confidence_slope(t[:, :3], s[:, :3])
    t[:, 3], s[:, 3:] = -torch.inf, -torch.inf
    torch.testing.assert_close(confidence_slope(t, s), expected)


def test_invariance_agrees_where_both_keep_their_class_or_both_change_it():
    z = torch.eye(4, dtype=torch.float64)
    moved = z.clone()
    moved[0] = z[1]
    assert float(invariance_agreement(z, moved, z, z)) == 0.75
    assert float(invariance_agreement(z, moved, z, moved)) == 1


def masked_pair(n=40, classes=9):
    """Return logits of teacher and student: a class that both mask, one that the teacher alone masks."""
    z_t, z_s = draws(n, classes), draws(n, classes, seed=1)
    z_t[:, [0, 3]], z_s[:, 0] = -torch.inf, -torch.inf
    return z_t, z_s


def reference(p, q):
    """Return every metric of two distributions over classes, one example at a time."""
    m = (p + q) / 2
    return {
        "agreement": float(p.argmax() == q.argmax()),
        "kl_teacher_student": rel_entr(p, q).sum(),
        "kl_student_teacher": rel_entr(q, p).sum(),
        "jensen_shannon": (rel_entr(p, m).sum() + rel_entr(q, m).sum()) / 2,
        "total_variation": np.abs(p - q).sum() / 2,
        "entropy_gap": entr(q).sum() - entr(p).sum(),
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_each_metric_of_each_example_equals_its_definition_with_and_without_masked_classes(metric):
    for z_t, z_s in ((draws(40, 9), draws(40, 9, seed=1)), masked_pair()):
        rows = zip(softmax(z_t.numpy(), -1), softmax(z_s.numpy(), -1), strict=True)
        expected = [reference(p, q)[metric.__name__] for p, q in rows]
        np.testing.assert_allclose(metric(z_t, z_s), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_metrics_are_blind_to_a_constant_and_to_the_order_of_the_classes(metric):
    z_t, z_s = masked_pair()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    moved = metric(z_t[:, order] + draws(40, 1, seed=2), z_s[:, order] - 7)
    torch.testing.assert_close(moved, metric(z_t, z_s), rtol=1e-11, atol=1e-13)


def test_the_directions_of_the_divergences_are_those_that_they_name():
    sure, unsure = torch.tensor([[8.0, 0.0, 0.0]]), torch.zeros(1, 3)
    found = fidelity(sure, unsure)  # a teacher that is sure, a student that is not
    swapped = fidelity(unsure, sure)
    assert float(found["kl_teacher_student"]) < float(found["kl_student_teacher"])
    for one, other in (("kl_teacher_student", "kl_student_teacher"), ("kl_student_teacher", "kl_teacher_student")):
        assert float(found[one]) == pytest.approx(float(swapped[other]))
    assert float(found["entropy_gap"]) == pytest.approx(-float(swapped["entropy_gap"]))
    assert float(found["entropy_gap"]) > 1


@pytest.mark.parametrize("metric", METRICS[1:5], ids=lambda metric: metric.__name__)
def test_distances_of_large_close_logits_in_float32_are_those_of_float64_and_never_below_zero(metric):
    z_t = 50 * draws(200, 9).float()
    z_s = z_t + 1e-4 * draws(200, 9, seed=1).float()
    got = metric(z_t, z_s)
    assert (got >= 0).all()
    z_t, z_s = z_t.numpy().astype(np.longdouble), z_s.numpy().astype(np.longdouble)
    p, q = (np.exp(z - z.max(-1, keepdims=True)) for z in (z_t, z_s))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    m = (p + q) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        kl = lambda a, b: np.where(a > 0, a * np.log(a / b), 0).sum(-1)  # noqa: E731
        expected = {
            "kl_teacher_student": kl(p, q),
            "kl_student_teacher": kl(q, p),
            "jensen_shannon": (kl(p, m) + kl(q, m)) / 2,
            "total_variation": np.abs(p - q).sum(-1) / 2,
        }[metric.__name__]
    np.testing.assert_allclose(got, expected.astype(float), rtol=1e-4, atol=1e-15)


def test_the_sets_of_the_likeliest_classes_are_compared_by_size_and_by_probability():
    z_t, z_s = draws(40, 9), draws(40, 9, seed=1)
    found = shared_top_k(z_t, z_s, 3)
    for i in range(40):
        t, s = (set(np.argsort(z[i].numpy())[-3:].tolist()) for z in (z_t, z_s))
        shared = sorted(t & s)
        assert float(found.overlap[i]) == len(shared) / 3
        assert float(found.teacher_mass[i]) == pytest.approx(softmax(z_t[i].numpy())[shared].sum())
        assert float(found.student_mass[i]) == pytest.approx(softmax(z_s[i].numpy())[shared].sum())
    same = shared_top_k(z_t, z_t, 9)
    torch.testing.assert_close(torch.stack(same), torch.ones(3, 40, dtype=torch.float64))
    with pytest.raises(ValueError, match="k between 1 and the 9 classes, got 10"):
        shared_top_k(z_t, z_s, 10)


def test_masked_classes_are_in_no_set_of_the_likeliest():
    z_t, z_s = (torch.tensor([[2.0, 1.0, *[-torch.inf] * 3]]) for _ in range(2))
    found = shared_top_k(z_t, z_s, 4)
    assert [float(value) for value in found] == pytest.approx([1, 1, 1])
    z_s[0, 2] = 0.5
    assert float(shared_top_k(z_t, z_s, 4).overlap) == pytest.approx(2 / 3)


def tokens():
    """Return logits (students, sequences, positions, classes), targets with ignored ones, and a padding mask."""
    z_t, z_s = draws(5, 7, 6), draws(2, 5, 7, 6, seed=1)
    targets = torch.randint(6, (5, 7), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(7) < torch.tensor([7, 5, 3, 7, 1])[:, None]
    targets[0, :2] = -100
    return z_t, z_s, targets, mask


def test_every_position_of_a_token_sequence_that_counts_is_an_example():
    z_t, z_s, targets, mask = tokens()
    kept = mask & (targets != -100)
    found = fidelity(z_t, z_s, targets, mask=mask, top_k=[1, 2])
    assert found["top_k_overlap"].dims == ("student", "k")
    assert found["k"].values.tolist() == [1, 2]
    expected = fidelity(z_t[kept], z_s[:, kept], targets[kept], top_k=[1, 2])
    xr.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found["top_k_overlap"].sel(k=1), found["agreement"])
    p, q = softmax(z_t[kept].numpy(), -1), softmax(z_s[1][kept].numpy(), -1)
    assert float(found["kl_teacher_student"][1]) == pytest.approx(rel_entr(p, q).sum(-1).mean())
    right = p.argmax(-1) == targets[kept].numpy()
    same = p.argmax(-1) == q.argmax(-1)
    assert float(found["agreement_teacher_wrong"][1]) == pytest.approx(same[~right].mean())
    assert all(value.attrs["long_name"] for value in found.values())


def test_what_lies_at_positions_that_do_not_count_has_no_effect():
    z_t, z_s, targets, mask = tokens()
    expected = fidelity(z_t, z_s, targets, mask=mask)
    z_t[~mask], z_s[:, ~mask] = torch.nan, torch.inf
    targets[~mask] = -100
    xr.testing.assert_identical(fidelity(z_t, z_s, targets, mask=mask.float()), expected)
    xr.testing.assert_identical(fidelity(z_t, z_s, targets), expected)


def test_many_examples_are_compared_in_blocks_with_the_same_means(monkeypatch):
    z_t, z_s, targets, _ = tokens()
    expected = fidelity(z_t, z_s, targets, top_k=[2])
    monkeypatch.setattr("kdlandscape.distillation.tallies._BLOCK", 30)
    xr.testing.assert_allclose(fidelity(z_t, z_s, targets, top_k=[2]), expected, rtol=1e-12)


def test_masks_and_targets_that_do_not_fit_are_refused():
    z_t, z_s, targets, mask = tokens()
    with pytest.raises(ValueError, match=r"mask of shape \(5, 7\), got \(5, 6\)"):
        fidelity(z_t, z_s, targets, mask=mask[:, 1:])
    with pytest.raises(ValueError, match=r"targets of shape \(5, 7\), got \(5, 3\)"):
        fidelity(z_t, z_s, targets[:, :3])
    with pytest.raises(ValueError, match="at least one example that counts, got none"):
        fidelity(z_t, z_s, torch.full_like(targets, -100))


def test_networks_without_probabilities_agree_on_nothing():
    z = draws(4, 3)
    broken = torch.full_like(z, torch.nan)
    found = fidelity(z, broken, torch.zeros(4, dtype=torch.long))
    for name in ("agreement", "kl_teacher_student", "total_variation", "student_accuracy", "agreement_teacher_right"):
        assert np.isnan(found[name]), name
    assert np.isfinite(found["teacher_accuracy"])
