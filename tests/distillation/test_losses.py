import mpmath
import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from kdlandscape.distillation import losses


def pair(seed=0, n=20, classes=7, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, n, classes, generator=generator, dtype=torch.float64)


REFERENCES = {
    "tempered_kl": lambda t, s, tau: tau**2 * rel_entr(softmax(t / tau, -1), softmax(s / tau, -1)).sum(-1),
    "cross_entropy": lambda t, s, tau: -(tau**2) * (softmax(t / tau, -1) * log_softmax(s / tau, -1)).sum(-1),
    "reverse_kl": lambda t, s, tau: tau**2 * rel_entr(softmax(s / tau, -1), softmax(t / tau, -1)).sum(-1),
    "symmetric_kl": lambda t, s, tau: (REFERENCES["tempered_kl"](t, s, tau) + REFERENCES["reverse_kl"](t, s, tau)) / 2,
    "brier": lambda t, s, tau: tau**2 * ((softmax(t / tau, -1) - softmax(s / tau, -1)) ** 2).sum(-1),
    "logit_mse": lambda t, s, tau: ((t - s) ** 2).mean(-1),
    "hard": lambda t, s, tau: -log_softmax(s, -1)[np.arange(len(t)), t.argmax(-1)],
}


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("name", losses.LOSSES)
def test_each_loss_equals_its_formula_in_scipy(name, temperature):
    z_t, z_s = pair()
    expected = REFERENCES[name](z_t.numpy(), z_s.numpy(), temperature)
    got = losses.named_loss(name)(z_t, z_s, temperature)
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["tempered_kl", "reverse_kl", "symmetric_kl", "brier", "logit_mse"])
def test_a_perfect_match_has_no_loss_and_no_gradient_and_the_teacher_gets_none(name):
    z_t, _ = pair()
    z_t.requires_grad_()
    z_s = z_t.detach().clone().requires_grad_()
    value = losses.LOSSES[name](z_t, z_s, 3.0).sum()
    value.backward()
    assert abs(float(value.detach())) < 1e-12
    assert float(z_s.grad.abs().max()) < 1e-14
    assert z_t.grad is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 16.0])
def test_cross_entropy_and_kl_have_the_same_gradient(temperature):
    z_t, z_s = pair()
    z_s.requires_grad_()
    ce, kl = (
        torch.autograd.grad(loss(z_t, z_s, temperature).sum(), z_s)[0]
        for loss in (losses.cross_entropy, losses.tempered_kl)
    )
    torch.testing.assert_close(kl, ce, rtol=1e-12, atol=1e-12)


def test_for_high_temperatures_the_kl_is_half_the_squared_distance_of_centred_logits():
    z_t, z_s = pair()
    z_t, z_s = z_t - z_t.mean(-1, keepdim=True), z_s - z_s.mean(-1, keepdim=True)
    torch.testing.assert_close(losses.tempered_kl(z_t, z_s, 1e4), losses.logit_mse(z_t, z_s) / 2, rtol=2e-3, atol=1e-3)


MASKED = {"both": ([1, 4], [1, 4]), "the teacher": ([1, 4], []), "some of both": ([1, 4], [4])}


def masked(who):
    z_t, z_s = pair()
    for z, classes in zip((z_t, z_s), MASKED[who], strict=True):
        z[:, classes] = -torch.inf
    return z_t, z_s


def exact_divergence(z_t, z_s, tau):
    """Return tau^2 KL(softmax(z_t / tau), softmax(z_s / tau)) of one row with 60 digits."""
    with mpmath.workdps(60):
        t, s = ([mpmath.mpf(float(x)) / tau for x in z] for z in (z_t, z_s))
        a, b = (sum(mpmath.exp(x) for x in z) for z in (t, s))
        return float(tau**2 * sum(mpmath.exp(x) / a * (x - y - mpmath.log(a / b)) for x, y in zip(t, s, strict=True)))


@pytest.mark.parametrize("who", MASKED)
@pytest.mark.parametrize("name", ["tempered_kl", "cross_entropy", "brier", "hard"])
def test_a_masked_class_has_probability_zero(name, who):
    z_t, z_s = masked(who)
    tau = 1.0 if name == "hard" else 3.0
    t, s = z_t.numpy(), z_s.numpy()
    p, q = softmax(t / tau, -1), softmax(s / tau, -1)
    kept = -np.where(p > 0, p * np.log(np.where(p > 0, q, 1)), 0)
    expected = {
        "tempered_kl": tau**2 * rel_entr(p, q).sum(-1),
        "cross_entropy": tau**2 * kept.sum(-1),
        "brier": tau**2 * ((p - q) ** 2).sum(-1),
        "hard": -np.log(q[np.arange(20), t.argmax(-1)]),
    }[name]
    z_s.requires_grad_()
    got = losses.LOSSES[name](z_t, z_s, tau)
    torch.testing.assert_close(got.detach(), torch.from_numpy(expected), rtol=1e-9, atol=1e-12)
    slope = torch.autograd.grad(got.sum(), z_s)[0]
    onto = np.eye(7)[t.argmax(-1)]
    slopes = {
        "tempered_kl": tau * (q - p),
        "cross_entropy": tau * (q - p),
        "brier": 2 * tau * q * ((q - p) - (q * (q - p)).sum(-1, keepdims=True)),
        "hard": q - onto,
    }
    torch.testing.assert_close(slope, torch.from_numpy(slopes[name]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_classes_that_both_mask_do_not_count_at_all(name):
    z_t, z_s = masked("both")
    kept = [0, 2, 3, 5, 6]
    part = z_s[:, kept].clone().requires_grad_()
    z_s.requires_grad_()
    whole, less = losses.LOSSES[name](z_t, z_s, 2.0), losses.LOSSES[name](z_t[:, kept], part, 2.0)
    torch.testing.assert_close(whole, less, rtol=1e-12, atol=1e-12)
    slope, expected = torch.autograd.grad(whole.sum(), z_s)[0], torch.autograd.grad(less.sum(), part)[0]
    torch.testing.assert_close(slope[:, kept], expected, rtol=1e-12, atol=1e-12)
    assert (slope[:, [1, 4]] == 0).all()


def test_a_class_that_one_side_alone_masks_is_infinitely_far_where_the_other_one_needs_it():
    z_t, z_s = pair()
    shut = z_s.clone()
    shut[:, 2] = -torch.inf
    for name in ("tempered_kl", "cross_entropy", "symmetric_kl", "logit_mse"):
        assert (losses.LOSSES[name](z_t, shut) == torch.inf).all(), name
    p, q = softmax(z_t.numpy(), -1), softmax(shut.numpy(), -1)
    torch.testing.assert_close(losses.reverse_kl(z_t, shut), torch.from_numpy(rel_entr(q, p).sum(-1)))
    assert (losses.reverse_kl(shut, z_s) == torch.inf).all()
    shut.requires_grad_()
    slope = torch.autograd.grad(losses.reverse_kl(z_t, shut).sum(), shut)[0]
    divergence = rel_entr(q, p).sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(q > 0, q * (np.log(q / p) - divergence), 0)
    torch.testing.assert_close(slope, torch.from_numpy(expected))


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("bad", [[-torch.inf] * 7, [torch.nan, *[0.0] * 6]])
def test_a_row_without_probabilities_has_no_loss(name, bad):
    z_t, z_s = pair()
    z_t[3] = torch.tensor(bad)
    value = losses.LOSSES[name](z_t, z_s)
    assert value[3].isnan() or (name == "logit_mse" and value[3] == torch.inf)
    assert value[[0, 1, 2, 4]].isfinite().all()


@pytest.mark.parametrize("name", ["tempered_kl", "reverse_kl", "symmetric_kl"])
@pytest.mark.parametrize(("scale", "gap"), [(50.0, 1e-4), (50.0, 1e-2), (5.0, 1e-6), (200.0, 1.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergences_of_large_close_logits_are_exact_and_never_below_zero(name, scale, gap, dtype):
    z_t, noise = (z.to(dtype) for z in pair(scale=1.0))
    z_t = scale * z_t
    z_s = z_t + gap * noise
    got = losses.LOSSES[name](z_t, z_s, 2.0)
    there = [exact_divergence(t, s, 2) for t, s in zip(z_t, z_s, strict=True)]
    back = [exact_divergence(s, t, 2) for t, s in zip(z_t, z_s, strict=True)]
    expected = {"tempered_kl": there, "reverse_kl": back, "symmetric_kl": np.add(there, back) / 2}[name]
    assert (got >= 0).all()
    np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == torch.float32 else 1e-6, atol=1e-35)


@pytest.mark.parametrize("name", ["tempered_kl", "reverse_kl", "symmetric_kl", "brier", "cross_entropy"])
def test_gradients_of_large_close_logits_in_float32_are_those_of_float64(name):
    z_t, noise = (z.float() for z in pair(scale=1.0))
    z_t = 50 * z_t
    z_s = z_t + 1e-3 * noise
    slopes = []
    for dtype in (torch.float32, torch.float64):
        s = z_s.to(dtype).requires_grad_()
        slopes.append(torch.autograd.grad(losses.LOSSES[name](z_t.to(dtype), s, 2.0).sum(), s)[0].double())
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", ["tempered_kl", "reverse_kl", "cross_entropy", "brier", "hard"])
def test_second_derivatives_are_right_forward_and_backward(name):
    z_t, z_s = (z[0] for z in pair(scale=1.0))
    z_t[2] = -torch.inf

    def plain(s):
        p, log_q, log_p = z_t.softmax(-1), s.log_softmax(-1), z_t.log_softmax(-1)
        return {
            "tempered_kl": -(p * log_q).sum(),
            "cross_entropy": -(p * log_q).sum(),
            "reverse_kl": (log_q.exp() * (log_q - log_p.masked_fill(p == 0, 0.0))).sum(),
            "brier": (log_q.exp() - p).square().sum(),
            "hard": -log_q[z_t.argmax()],
        }[name]

    if name == "reverse_kl":
        z_t[2] = 0.5
    for way in (torch.func.hessian, lambda f: torch.func.jacrev(torch.func.jacrev(f))):
        torch.testing.assert_close(way(lambda s: losses.LOSSES[name](z_t, s))(z_s), way(plain)(z_s))


def test_what_has_no_weight_does_not_count_even_where_it_is_infinite():
    infinite, z = torch.full((2,), torch.inf), torch.tensor([[0.0, -torch.inf]] * 2).requires_grad_()
    wanted = torch.tensor([1, 0])
    pure = losses.with_labels(torch.ones(2), z, wanted, 0.0)
    assert pure.tolist() == [1, 1]
    assert torch.equal(torch.autograd.grad(pure.sum(), z)[0], torch.zeros(2, 2))
    assert losses.with_labels(infinite, torch.zeros(2, 2), wanted, 1.0).tolist() == pytest.approx([np.log(2)] * 2)


def test_labels_and_teacher_are_mixed_by_the_hard_weight():
    z_t, z_s = pair()
    targets = torch.arange(20) % 7
    kd = losses.tempered_kl(z_t, z_s)
    nll = -log_softmax(z_s.numpy(), -1)[np.arange(20), targets.numpy()]
    mixed = losses.with_labels(kd, z_s, targets, 0.3)
    torch.testing.assert_close(mixed, 0.3 * torch.from_numpy(nll) + 0.7 * kd)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_to_a_teacher_says_its_temperature_and_unit(name):
    z_t, z_s = pair()
    loss = losses.LOSSES[name]
    warm, plain = losses.to_teacher(loss, 4.0), losses.to_teacher(loss)
    torch.testing.assert_close(warm(z_s, z_t), loss(z_t, z_s, 4.0))
    torch.testing.assert_close(losses.to_teacher(loss, part=1)(z_s, (None, z_t)), loss(z_t, z_s))
    assert warm.units == loss.units
    if loss.long_name.startswith("τ²·"):
        assert warm.long_name == f"{loss.long_name} at τ = 4"
        assert plain.long_name == loss.long_name.removeprefix("τ²·")
    else:
        assert warm.long_name == plain.long_name == loss.long_name


def test_the_tempered_kl_is_named_as_what_it_is():
    assert losses.to_teacher(losses.tempered_kl, 4.0).long_name == "τ²·KL(teacher ‖ student) at τ = 4"
    assert losses.to_teacher(losses.tempered_kl).long_name == "KL(teacher ‖ student)"
    assert losses.to_teacher(losses.brier).units == "1"


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"a loss of tempered_kl, .*; got 'tempered'\. Did you mean 'tempered_kl'"):
        losses.named_loss("tempered")


def test_a_loss_to_the_teacher_of_token_logits_is_the_mean_over_positions():
    z_t, z_s = (torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    found = losses.to_teacher(losses.tempered_kl, 2.0)(z_s, z_t)
    torch.testing.assert_close(found, losses.tempered_kl(z_t, z_s, 2.0).mean(1))
