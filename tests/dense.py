"""Independent references: load the weights into a copy of the network and differentiate entry by entry.

Nothing here uses the package: plain modules, the whole data set as one batch, torch.autograd only.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def theta_of(module: nn.Module) -> Tensor:
    return torch.nn.utils.parameters_to_vector(trainable(module)).detach().clone()


def loaded(module: nn.Module, theta: Tensor) -> nn.Module:
    """Return a copy of the module in eval mode that holds theta."""
    module = copy.deepcopy(module).eval()
    torch.nn.utils.vector_to_parameters(theta, trainable(module))
    return module


def run(module: nn.Module, inputs: Any) -> Tensor:
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in module.modules())
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        torch.backends.cudnn.flags(enabled=not recurrent),
    ):
        return module(**inputs) if isinstance(inputs, dict) else module(inputs)


def value(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> Tensor:
    with torch.no_grad():
        return loss(run(loaded(module, theta), data[0]), data[1])


def grad(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> Tensor:
    copy_ = loaded(module, theta)
    grads = torch.autograd.grad(loss(run(copy_, data[0]), data[1]), trainable(copy_), allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for g, p in zip(grads, trainable(copy_), strict=True)
        ]
    )


def hessian(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> Tensor:
    """Row by row: the gradient of each entry of the gradient."""
    copy_ = loaded(module, theta)
    parameters = trainable(copy_)
    grads = torch.autograd.grad(loss(run(copy_, data[0]), data[1]), parameters, create_graph=True, allow_unused=True)
    rows = []
    for parameter, gradient in zip(parameters, grads, strict=True):
        for i in range(parameter.numel()):
            if gradient is None or not gradient.requires_grad:
                rows.append(torch.zeros_like(theta))
                continue
            second = torch.autograd.grad(gradient.flatten()[i], parameters, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        torch.zeros_like(p).flatten() if s is None else s.flatten()
                        for s, p in zip(second, parameters, strict=True)
                    ]
                )
            )
    return torch.stack(rows)


def ggn(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> Tensor:
    """J^T H J with the Jacobian row by row and the loss's Hessian at the outputs entry by entry."""
    copy_ = loaded(module, theta)
    parameters = trainable(copy_)
    outputs = run(copy_, data[0])
    rows = []
    for output in outputs.flatten():
        grads = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    torch.zeros_like(p).flatten() if g is None else g.flatten()
                    for g, p in zip(grads, parameters, strict=True)
                ]
            )
        )
    jacobian = torch.stack(rows)
    at_outputs = torch.autograd.functional.hessian(
        lambda z: loss(z.view_as(outputs), data[1]), outputs.detach().flatten()
    )
    return jacobian.T @ at_outputs @ jacobian


def example_gradients(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each example's own mean loss (n, P), and its weight (n,): one example at a time."""
    inputs, targets = data
    weight = getattr(loss, "weight", None)
    ignored = getattr(loss, "ignore_index", None)
    rows, weights = [], []
    for i in range(len(targets)):
        x = {k: v[i : i + 1] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[i : i + 1]
        skip = ignored is not None and targets.ndim == 1 and targets[i] == ignored
        rows.append(torch.zeros_like(theta) if skip else grad(module, loss, (x, targets[i : i + 1]), theta))
        weights.append(0.0 if skip else 1.0 if weight is None else float(weight[targets[i]]))
    return torch.stack(rows), theta.new_tensor(weights)


def empirical_fisher(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> Tensor:
    gradients, weights = example_gradients(module, loss, data, theta)
    return (gradients.T * weights) @ gradients / weights.sum()


def fisher(module: nn.Module, loss: Any, data: tuple[Any, Tensor], theta: Tensor) -> Tensor:
    """Sum over examples and over every class, or every pair of Gaussian sigma points, of outer products of gradients.

    A mean square over d outputs is the negative log likelihood of a Gaussian of variance d / 2 but for a constant.
    """
    inputs, targets = data
    total, norm = theta.new_zeros(len(theta), len(theta)), 0.0
    _, weights = example_gradients(module, loss, data, theta)
    for i in range(len(targets)):
        x = {k: v[i : i + 1] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[i : i + 1]
        copy_ = loaded(module, theta)
        outputs = run(copy_, x)
        if isinstance(loss, nn.MSELoss):
            d = outputs.shape[1]
            shifts = (d / 2) ** 0.5 * d**0.5 * torch.cat([torch.eye(d), -torch.eye(d)]).to(outputs)
            samples = [(1 / (2 * d), nn.functional.mse_loss(outputs, (outputs + s).detach())) for s in shifts]
        else:
            samples = [(float(x.detach().exp()), -x) for x in outputs.log_softmax(1)[0]]
        for probability, sample in samples:
            parts = torch.autograd.grad(sample, trainable(copy_), retain_graph=True, allow_unused=True)
            g = torch.cat(
                [
                    torch.zeros_like(p).flatten() if a is None else a.flatten()
                    for a, p in zip(parts, trainable(copy_), strict=True)
                ]
            )
            total += weights[i] * probability * torch.outer(g, g)
        norm += float(weights[i])
    return total / norm
