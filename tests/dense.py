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
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
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
