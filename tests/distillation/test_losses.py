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
