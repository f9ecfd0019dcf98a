import numpy as np
import pytest
import torch

from kdlandscape.distillation.comparison import fidelity
from kdlandscape.distillation.metrics import confidence_slope, invariance_agreement


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


def test_invariance_agrees_where_both_keep_their_class_or_both_change_it():
    z = torch.eye(4, dtype=torch.float64)
    moved = z.clone()
    moved[0] = z[1]
    assert float(invariance_agreement(z, moved, z, z)) == 0.75
    assert float(invariance_agreement(z, moved, z, moved)) == 1
