"""Every number of a comparison of two networks by plain PyTorch in float64: modules, autograd, dense matrices."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


@dataclass(frozen=True)
class Plain:
    """A problem as plain functions.

    Attributes
    ----------
    forward
        (network, inputs) -> logits.
    loss
        (logits, targets) -> mean loss.
    examples
        (logits, targets) -> logits (n, C) and targets (n,) of what counts.
    data
        Split -> inputs and targets.
    batch_size
        Examples that running statistics are estimated on at once.
    """

    forward: Callable[[nn.Module, Any], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    examples: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    data: dict[str, tuple[Any, Tensor]]
    batch_size: int

    def logits(self, net: nn.Module, split: str) -> Tensor:
        with torch.no_grad():
            return self.forward(net, self.data[split][0])

    def mean_loss(self, net: nn.Module, split: str) -> float:
        return float(self.loss(self.logits(net, split), self.data[split][1]))


def weights(net: nn.Module) -> Tensor:
    return parameters_to_vector(net.parameters()).detach().double()


def at(plain: Plain, net: nn.Module, theta: Tensor) -> nn.Module:
    """Return the network with other weights, its running statistics estimated anew on the training data."""
    moved = copy.deepcopy(net).double().eval()
    vector_to_parameters(theta.clone(), moved.parameters())
    layers = [layer for layer in moved.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if layers:
        seen = 0
        for part in plain.data["train"][0].split(plain.batch_size):
            seen += len(part)
            for layer in layers:
                layer.momentum = len(part) / seen  # the mean over all batches, by their numbers of examples
            with torch.no_grad():
                plain.forward(moved.train(), part)
    return moved.eval()


def fidelity(plain: Plain, teacher: nn.Module, student: nn.Module, split: str) -> dict[str, float]:
    z, targets = [plain.logits(net, split) for net in (teacher, student)], plain.data[split][1]
    (log_p, y), (log_q, _) = ((one.log_softmax(-1), labels) for one, labels in (plain.examples(x, targets) for x in z))
    p, q = log_p.exp(), log_q.exp()
    same = (p.argmax(-1) == q.argmax(-1)).double()
    right, other = ((x.argmax(-1) == y).double() for x in (p, q))
    a, b = float(right.mean()), float(other.mean())
    middle = ((p + q) / 2).log()
    found = {
        "agreement": same.mean(),
        "kl_teacher_student": (p * (log_p - log_q)).sum(-1).mean(),
        "kl_student_teacher": (q * (log_q - log_p)).sum(-1).mean(),
        "jensen_shannon": ((p * (log_p - middle) + q * (log_q - middle)).sum(-1) / 2).mean(),
        "total_variation": (p - q).abs().sum(-1).mean() / 2,
        "entropy_gap": ((p * log_p).sum(-1) - (q * log_q).sum(-1)).mean(),
        "teacher_accuracy": a,
        "student_accuracy": b,
        "teacher_nll": -log_p[range(len(y)), y].mean(),
        "student_nll": -log_q[range(len(y)), y].mean(),
        "teacher_ece": calibration_error(p, y),
        "student_ece": calibration_error(q, y),
        "agreement_min": max(0.0, a + b - 1),
        "agreement_max": 1 - abs(a - b),
        "agreement_teacher_right": same[right == 1].mean(),
        "agreement_teacher_wrong": same[right == 0].mean(),
    }
    for k in (2, 5):
        both = top_k(p, k) * top_k(q, k)
        found[f"top_k_overlap {k}"] = both.sum(-1).mean() / k
        found[f"top_k_teacher_mass {k}"] = (p * both).sum(-1).mean()
        found[f"top_k_student_mass {k}"] = (q * both).sum(-1).mean()
    return {name: float(value) for name, value in found.items()}


def excess(found: dict[str, float], beside: dict[str, float]) -> dict[str, float]:
    """Return what the fidelity of an independent network makes of that of a student."""
    return {
        "control_agreement": beside["agreement"],
        "control_kl": beside["kl_teacher_student"],
        "excess_agreement": found["agreement"] - beside["agreement"],
        "excess_teacher_wrong": found["agreement_teacher_wrong"] - beside["agreement_teacher_wrong"],
    }


def top_k(p: Tensor, k: int) -> Tensor:
    """Mark the k largest of each row."""
    return (p >= p.sort(-1).values[:, -k, None]).double()


def calibration_error(p: Tensor, y: Tensor, bins: int = 15) -> float:
    confidence, guess = p.max(-1)
    error = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            gap = float((guess[inside] == y[inside]).double().mean() - confidence[inside].mean())
            error += abs(gap) * float(inside.double().mean())
    return error


def calibrated(plain: Plain, logits: Tensor, split: str) -> tuple[float, float]:
    """Return the least mean loss over temperatures from 1/8 to 8, and where it is, by a fine grid."""
    fine = torch.logspace(-3, 3, 1201, base=2.0, dtype=torch.float64)
    losses = torch.stack([plain.loss(logits / t, plain.data[split][1]) for t in fine])
    return float(losses.min()), float(fine[losses.argmin()])


def path(plain: Plain, net: nn.Module, start: Tensor, end: Tensor, split: str, places: list[float]) -> dict[str, Any]:
    """Return what the straight path from one theta to another has, in loss, error and at calibrated temperature."""
    losses, free, wrong = [], [], []
    for t in places:
        logits = plain.logits(at(plain, net, (1 - t) * start + t * end), split)
        z, y = plain.examples(logits, plain.data[split][1])
        losses.append(float(plain.loss(logits, plain.data[split][1])))
        free.append(calibrated(plain, logits, split)[0])
        wrong.append(float((z.argmax(-1) != y).double().mean()))

    def height(values: list[float]) -> float:
        chord = [(1 - t) * values[0] + t * values[-1] for t in places]
        return max(value - below for value, below in zip(values, chord, strict=True))

    return {
        "path_loss": losses,
        "path_calibrated_loss": free,
        "path_error": wrong,
        "barrier": height(losses),
        "calibrated_loss_barrier": height(free),
        "error_barrier": height(wrong),
        "end_barrier": max(losses) - max(losses[0], losses[-1]),
    }


def dense_hessian(plain: Plain, net: nn.Module) -> tuple[Tensor, Tensor]:
    """Return gradient (P,) and Hessian (P, P) of the mean training loss by double backward, row by row."""
    parameters, (inputs, targets) = list(net.parameters()), plain.data["train"]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        loss = plain.loss(plain.forward(net, inputs), targets)
        slopes = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([slope.reshape(-1) for slope in slopes])
        rows = [torch.autograd.grad(slope, parameters, retain_graph=True, materialize_grads=True) for slope in flat]
    return flat.detach(), torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])


def rise(plain: Plain, net: nn.Module, step: Tensor) -> float:
    """Return how much the training loss rises by a step of the weights, the running statistics as they are."""
    moved = copy.deepcopy(net)
    vector_to_parameters(weights(net) + step, moved.parameters())
    return plain.mean_loss(moved, "train") - plain.mean_loss(net, "train")


def steps_of_ascent(net: nn.Module, gradient: Tensor) -> dict[str, Tensor]:
    """Return the steps of SAM (radius 0.05) and of adaptive SAM (radius 0.5)."""
    scale = weights(net).abs()
    adaptive = 0.5 * scale**2 * gradient / (scale * gradient).norm()
    return {"sam_sharpness": 0.05 * gradient / gradient.norm(), "adaptive_sharpness": adaptive}


def mean_rise(plain: Plain, net: nn.Module, sigma: float) -> float:
    """Return the mean rise of the training loss by the 32 draws of isotropic noise that seed 0 gives."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(32, len(weights(net)), generator=generator, dtype=torch.float32).double()
    return sum(rise(plain, net, sigma * draw) for draw in draws) / len(draws)


def random_signs(size: int, count: int) -> Tensor:
    """Return the start vectors (count, P) that seed 0 gives to Lanczos quadrature, each of norm 1."""
    generator = torch.Generator().manual_seed(0)
    bits = [torch.randint(0, 2, (1, size), generator=generator, dtype=torch.int8)[0] for _ in range(count)]
    return (2 * torch.stack(bits) - 1).double() / size**0.5
