"""Fidelity as a reference for trainers: sums over batches, every precision, positions and not batches as weights."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import entr, rel_entr, softmax

import kdlandscape as kdl
from kdlandscape.distillation import tally
from tests.distillation.test_metrics import draws, tokens


def batches():
    """Return batches of token sequences of unequal lengths, in which unequal numbers of positions count."""
    found = []
    for seed, (rows, length) in enumerate([(3, 9), (5, 4), (1, 2)]):
        z_t, z_s = draws(rows, length, 6, seed=seed), draws(2, rows, length, 6, seed=10 + seed)
        targets = torch.randint(6, (rows, length), generator=torch.Generator().manual_seed(seed))
        targets[0, 0] = -100
        z_t[..., 5] = z_s[..., 5] = -torch.inf
        targets[targets == 5] = 0
        found.append((z_t, z_s, targets))
    return found


def by_hand(z_t, z_s, targets):
    """Return the means over positions of one student, from float64 arrays (N, C), by their definitions."""
    p, q = softmax(z_t, -1), softmax(z_s, -1)
    same, right = p.argmax(-1) == q.argmax(-1), p.argmax(-1) == targets
    own = q.argmax(-1) == targets
    top = [set(np.argsort(-row)[:2]) for row in p], [set(np.argsort(-row)[:2]) for row in q]
    both = [sorted(a & b) for a, b in zip(*top, strict=True)]
    confidence = q.max(-1)
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    return {
        "agreement": same.mean(),
        "kl_teacher_student": rel_entr(p, q).sum(-1).mean(),
        "kl_student_teacher": rel_entr(q, p).sum(-1).mean(),
        "entropy_gap": (entr(q).sum(-1) - entr(p).sum(-1)).mean(),
        "total_variation": np.abs(p - q).sum(-1).mean() / 2,
        "student_accuracy": own.mean(),
        "student_nll": -np.log(np.take_along_axis(q, targets[:, None], -1)).mean(),
        "student_ece": sum(abs((own - confidence)[bins == b].sum()) for b in range(15)) / len(own),
        "agreement_min": max(0, own.mean() + right.mean() - 1),
        "agreement_max": 1 - abs(own.mean() - right.mean()),
        "agreement_teacher_right": same[right].mean(),
        "agreement_teacher_wrong": same[~right].mean(),
        "top_k_overlap": np.mean([len(kept) / 2 for kept in both]),
        "top_k_teacher_mass": np.mean([row[kept].sum() for row, kept in zip(p, both, strict=True)]),
        "top_k_student_mass": np.mean([row[kept].sum() for row, kept in zip(q, both, strict=True)]),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_batches_of_unequal_lengths_give_means_over_all_their_positions_in_float64(dtype):
    given = [(z_t.to(dtype), z_s.to(dtype), y) for z_t, z_s, y in batches()]
    total = reduce(add, (tally(*batch, top_k=[2]) for batch in given))
    found = total.means("student")
    kept = [y != -100 for _, _, y in given]
    assert total.count == sum(int(mask.sum()) for mask in kept)
    z_t = torch.cat([batch[0][mask] for batch, mask in zip(given, kept, strict=True)]).double().numpy()
    y = torch.cat([batch[2][mask] for batch, mask in zip(given, kept, strict=True)]).numpy()
    for student in range(2):
        z_s = torch.cat([batch[1][student][mask] for batch, mask in zip(given, kept, strict=True)]).double().numpy()
        for name, value in by_hand(z_t, z_s, y).items():
            assert float(found[name][student].squeeze()) == pytest.approx(value, rel=1e-11, abs=1e-13), name
            assert found[name].dtype == np.float64
    parts = [tally(*batch).means("student")["kl_teacher_student"] for batch in given]
    assert abs(np.mean(parts, 0) - found["kl_teacher_student"].values).min() > 1e-3  # not one vote a batch


def test_a_sum_of_tallies_of_the_parts_is_fidelity_of_the_whole():
    z_t, z_s, targets, mask = tokens()
    whole = kdl.fidelity(z_t, z_s, targets, mask=mask, top_k=[1, 3])
    parts = [tally(z_t[i], z_s[:, i], targets[i], mask=mask[i], top_k=[1, 3]) for i in range(5)]
    xr.testing.assert_allclose(reduce(add, parts).means(), whole, rtol=1e-12)
    with pytest.raises(ValueError, match=r"tallies of the same numbers, got two that differ in .*student_nll"):
        tally(z_t, z_s, mask=mask) + tally(z_t, z_s, targets)
    with pytest.raises(ValueError, match=r"differ in top_k \(1,\) and \(2,\)"):
        tally(z_t, z_s, targets, top_k=[1]) + tally(z_t, z_s, targets, top_k=[2])
    with pytest.raises(ValueError, match="at least one example that counts, got none"):
        tally(z_t, z_s, targets, mask=torch.zeros_like(mask))


def test_a_users_metric_is_measured_of_teacher_and_student_under_its_own_label():
    z_t, z_s, targets, mask = tokens()

    @kdl.labelled("top-2 accuracy")
    def top_two(logits, targets):
        return (logits.topk(2, -1).indices == targets[:, None]).any(-1)

    found = kdl.fidelity(z_t, z_s, targets, mask=mask, metrics={"top_two": top_two})
    kept = mask & (targets != -100)
    expected = (z_s[1][kept].topk(2, -1).indices == targets[kept][:, None]).any(-1).double().mean()
    assert float(found["student_top_two"][1]) == pytest.approx(float(expected))
    assert found["teacher_top_two"].attrs["long_name"] == "teacher top-2 accuracy"
    assert "student_top_two" not in kdl.fidelity(z_t, z_s, metrics={"top_two": top_two}, mask=mask)
