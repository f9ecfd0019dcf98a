"""Everything that a probe must leave as it was: a module's state, and the random states of torch, numpy and Python."""

import random

import numpy as np
import torch


def snapshot(module):
    return (
        {name: tensor.clone() for name, tensor in module.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()},
        {name: (m.training, id(m)) for name, m in module.named_modules()},
        {name: p.requires_grad for name, p in module.named_parameters()},
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
        random.getstate(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, torch.Tensor | np.ndarray):
        return bool((a == b).all())
    return a == b


def unchanged(before, module):
    return all(same(a, b) for a, b in zip(before, snapshot(module), strict=True))
