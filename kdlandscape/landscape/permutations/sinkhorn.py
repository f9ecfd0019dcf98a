"""Units mixed by doubly stochastic matrices, which a gradient can move, in place of permutations."""

from collections.abc import Iterable, Mapping
from math import log

import torch
from torch import Tensor

from kdlandscape.landscape.permutations.factors import homes
from kdlandscape.landscape.permutations.matching import Block, best_order
from kdlandscape.landscape.permutations.symmetries import Dims, Group, Symmetry

ROUNDS = 20  # of dividing rows and columns


class Soft:
    """A matrix X for each group of a network's units, and what units are when its doubly stochastic S(X) mixes them.

    A group inside another one has a matrix for each new unit of that one, (m, n, n), as a permutation has.
    """

    def __init__(self, symmetry: Symmetry, permutations: Mapping[str, Tensor], lr: float) -> None:
        self._symmetry, self._logits = symmetry, {}
        rates = []
        for name, order in permutations.items():
            size = order.shape[-1]
            at_match = torch.nn.functional.one_hot(order, size).double()
            self._logits[name] = (log(max(size, 2)) * at_match).requires_grad_()
            rates.append({"params": [self._logits[name]], "lr": lr * log(max(size, 2))})
        self._optimizer = torch.optim.Adam(rates) if rates else None

    @torch.no_grad()
    def mixed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state with its units mixed."""
        return self._symmetry.moved(state, self._matrices(), mix)

    def follow(self, blocks: Iterable[Block]) -> None:
        """Step down the slope: ``reference`` is the loss's gradient at what is mixed, ``other`` what is mixed."""
        if self._optimizer is None:
            return
        self._optimizer.zero_grad()
        matrices, groups = self._matrices(), self._symmetry.groups
        torch.stack([(b.reference * mix(b.other, b.dims, matrices, groups)).sum() for b in blocks]).sum().backward()
        self._optimizer.step()

    def nearest(self) -> dict[str, Tensor]:
        """Return the permutations on which most of the matrices lies."""
        found = {}
        for name, logits in self._logits.items():
            rows = logits.detach().reshape(-1, *logits.shape[-2:])
            found[name] = torch.stack([best_order(one) for one in rows]).reshape(logits.shape[:-1])
        return found

    def _matrices(self) -> dict[str, Tensor]:
        return {name: doubly_stochastic(logits) for name, logits in self._logits.items()}


def doubly_stochastic(logits: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Divide the columns and rows (the last two dims) of exp(logits) by their sums in turns, the rows last."""
    for _ in range(rounds):
        logits = logits - logits.logsumexp(-2, keepdim=True)
        logits = logits - logits.logsumexp(-1, keepdim=True)
    return logits.exp()


def mix(tensor: Tensor, dims: Dims, matrices: Mapping[str, Tensor], groups: Mapping[str, Group]) -> Tensor:
    """Return a block with the units on its dims mixed; the groups are sorted, parents first."""
    for name in (name for name in groups if name in matrices and name in dims):
        for dim in (k for k, one in enumerate(dims) if one == name):
            places = homes(dims, groups[name].parents, dim)
            front = tensor.movedim(places, list(range(len(places))))
            rows = front.reshape(*front.shape[: len(places)], -1)
            mixed = matrices[name].to(rows) @ rows
            tensor = mixed.reshape(front.shape).movedim(list(range(len(places))), places)
    return tensor
