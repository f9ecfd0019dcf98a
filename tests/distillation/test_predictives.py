import numpy as np
import pytest
import torch

from kdlandscape.distillation.fidelity import fidelity
from kdlandscape.distillation.predictives import (
    confidence_slope,
    invariance,
    invariance_agreement,
    model_average,
    predictive_fidelity,
)
from kdlandscape.distillation.similarity import cka


def draws(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_model_average_is_the_mean_of_probabilities():
    z = draws(2, 5, 30, 4)
    torch.testing.assert_close(model_average(z), z.softmax(-1).mean(1))


def test_predictives_are_compared_as_teacher_and_student_are():
    reference, approximation = draws(30, 4), draws(3, 30, 4, seed=1)
    targets = torch.arange(30) % 4
    expected = fidelity(reference, approximation, targets)
    got = predictive_fidelity(reference.softmax(-1), approximation.softmax(-1), targets)
    assert len(got) == len(expected)
    for ours, theirs in {
        "agreement": "agreement",
        "kl_reference_approximation": "kl_teacher_student",
        "kl_approximation_reference": "kl_student_teacher",
        "total_variation": "total_variation",
        "approximation_nll": "student_nll",
        "agreement_reference_wrong": "agreement_teacher_wrong",
    }.items():
        torch.testing.assert_close(got[ours], expected[theirs])


def test_a_predictive_that_is_certain_is_compared_without_nan():
    certain = torch.eye(3, dtype=torch.float64)
    soft = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    found = predictive_fidelity(certain, soft)
    assert float(found["kl_reference_approximation"]) == pytest.approx(np.log(3))
    assert float(found["kl_approximation_reference"]) == np.inf
    assert float(found["total_variation"]) == pytest.approx(2 / 3)
    assert float(found["jensen_shannon"]) > 0


def test_what_is_no_distribution_is_refused():
    with pytest.raises(
        ValueError, match="probabilities that sum to 1 in the approximation, got rows that are off by 1"
    ):
        predictive_fidelity(torch.eye(3), 2 * torch.eye(3))


def test_the_confidence_slope_is_that_of_a_regression_of_centred_logits():
    t = draws(50, 5)
    torch.testing.assert_close(confidence_slope(t, 1.7 * t + draws(50, 1, seed=3)), torch.tensor(1.7).double())
    s = draws(2, 50, 5, seed=1)
    for k in range(2):
        x, y = (z - z.mean(-1, keepdim=True) for z in (t, s[k]))
        slope = np.linalg.lstsq(x.numpy().reshape(-1, 1), y.numpy().ravel(), rcond=None)[0][0]
        assert float(confidence_slope(t, s)[k]) == pytest.approx(slope)


def test_invariance_counts_examples_that_keep_their_class():
    z = torch.eye(4, dtype=torch.float64)
    moved = z.clone()
    moved[0] = z[1]
    assert float(invariance(z, moved)) == 0.75
    assert float(invariance_agreement(z, moved, z, z)) == 0.75
    assert float(invariance_agreement(z, moved, z, moved)) == 1


def test_cka_collapses_when_the_examples_of_one_side_are_permuted():
    x = draws(400, 6)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    assert float(cka(x, 3 * x)) == pytest.approx(1)
    assert float(cka(x, x[order])) < 0.1
