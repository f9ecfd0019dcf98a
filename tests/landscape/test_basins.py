import numpy as np
import pytest
import torch
from torch import nn

from kdlandscape.distillation import networks
from kdlandscape.landscape.basins import aligned_paths
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.paths.interpolation import barrier
from kdlandscape.landscape.permutations.alignment import full_state
from kdlandscape.landscape.permutations.symmetries import trace_symmetry


@pytest.fixture(scope="module")
def problem():
    network = networks.mlp(6, 3, width=10).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    objective = Objective(network, nn.CrossEntropyLoss(), (inputs, inputs[:, :3].argmax(1)))
    reference, other = networks.random_thetas(network, [0, 1])
    for _ in range(100):
        reference = reference - 0.5 * objective.grad(reference)
    symmetry = trace_symmetry(network, inputs)
    copy = objective.ravel(symmetry.permute(full_state(network, reference), symmetry.random(generator)))
    return objective, reference, torch.stack([copy, other])


def test_alignment_removes_the_whole_barrier_of_a_permuted_copy_and_keeps_every_end(problem):
    objective, reference, thetas = problem
    paths = aligned_paths(
        objective, thetas, reference, names=["copy", "other"], t=5
    )  # fmt: skip
    assert paths["loss"].dims == ("partner", "alignment", "correction", "t")
    height = barrier(paths).sel(partner="copy", correction="none")
    assert height.sel(alignment="none") > 0.05
    np.testing.assert_allclose(height.sel(alignment=["weights", "activations"]), 0, atol=1e-12)
    ends = paths["loss"].isel(t=[0, -1])
    np.testing.assert_allclose(ends, ends.sel(alignment="none").broadcast_like(ends), rtol=1e-10)
    cosine = paths["cosine"]
    assert cosine.attrs == {"long_name": "cosine with the reference's parameters", "units": "1"}
    assert cosine.dims == ("partner", "alignment")
    np.testing.assert_allclose(cosine.sel(partner="copy", alignment="weights"), 1)
    assert cosine.sel(partner="other", alignment="weights") > cosine.sel(partner="other", alignment="none")


def test_units_are_matched_by_the_loss_on_request(problem):
    objective, reference, thetas = problem
    given = {"names": ["copy", "other"], "t": 3, "methods": ["weights", "straight_through"], "corrections": ["none"]}
    paths = aligned_paths(objective, thetas, reference, **given)
    assert paths["alignment"].values.tolist() == ["none", "weights", "straight_through"]
    np.testing.assert_allclose(barrier(paths).sel(partner="copy", alignment="straight_through"), 0, atol=1e-12)
    half_way = paths["loss"].sel(partner="other", t=0.5).squeeze()
    assert half_way.sel(alignment="straight_through") <= half_way.sel(alignment="weights")


def test_an_unknown_method_or_correction_is_refused(problem):
    objective, reference, thetas = problem
    with pytest.raises(ValueError, match="corrections of none, repair; got 'rescale'"):
        aligned_paths(
            objective, thetas, reference, names=["a", "b"], corrections=["rescale"]
        )  # fmt: skip
    with pytest.raises(ValueError, match="methods of weights, activations, straight_through, sinkhorn; got 'magic'"):
        aligned_paths(objective, thetas, reference, names=["a", "b"], methods=["magic"])
