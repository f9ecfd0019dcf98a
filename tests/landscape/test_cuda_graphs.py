"""What a GPU replays is what the function gives, for every shape and every new argument; a CPU calls the function."""

import pytest
import torch

import kdlandscape as kdl
from kdlandscape.landscape.cuda_graphs import beside, captured
from kdlandscape.landscape.evaluation.evaluator import evaluator
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.replay import traced
from tests.cases import CASES, DEVICES

CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("device", DEVICES)
def test_every_call_gives_what_the_function_gives_in_tensors_of_its_own(device):
    calls = []

    def function(x, more):
        calls.append(x.shape)
        return {"sum": (x @ more["w"]).relu().sum(-1), "same": x * 2}

    fast, draw = captured(function), torch.Generator(device).manual_seed(0)
    kept = []
    for count in (4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5):
        x, w = (torch.randn(n, 3, generator=draw, device=device, dtype=torch.float64) for n in (count, 3))
        kept.append((fast(x, {"w": w}), function(x, {"w": w})))
    for found, expected in kept:
        assert all(torch.allclose(found[name], expected[name], rtol=1e-12) for name in expected)
    assert len(calls) == len(kept) + 2 * (6 if device == "cpu" else 2 + 3)  # two as they are, three to record


@CARD
def test_cuda_asks_for_a_value_or_another_number_and_is_called_as_before():
    waits = captured(lambda x: x * float(x.sum()))
    counter = torch.zeros((), device="cuda")
    moving = captured(lambda x: x + counter.add_(1))
    for k in range(1, 6):
        x = torch.full((3,), float(k), device="cuda")
        assert torch.equal(waits(x), x * 3 * k)
        moving(x)
    assert counter > 5  # the trial's own calls count, and its replay is not kept


@CARD
def test_cuda_a_backward_pass_is_replayed():
    theta = torch.randn(5, device="cuda", dtype=torch.float64, requires_grad=True)
    with beside(theta.device):
        slope = torch.autograd.grad(theta.square().square().sum(), theta, create_graph=True)[0]
    product = captured(lambda v: torch.autograd.grad(slope, theta, v, retain_graph=True)[0])
    for _ in range(6):
        v = torch.randn_like(theta)
        assert torch.allclose(product(v), 12 * theta.detach() ** 2 * v)


@pytest.mark.parametrize("case", CASES if torch.cuda.is_available() else [], ids=lambda case: case.name)
def test_cuda_products_points_and_programs_are_those_of_the_cpu(case):
    found = {}
    for device in ("cpu", "cuda"):
        module, loss, data = case.make(device)
        objective = kdl.Objective(module, loss, data, device=device)
        rows = torch.randn(6, objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
        hessian = kdl.hessian(objective, objective.theta)
        points = objective.theta + 1e-2 * rows
        losses = [evaluator(objective, Strategy(trace=True))(points)["loss"].cpu()] if objective.cuttable else []
        step = traced(lambda theta, a=objective: a.evaluate(theta[None])["loss"])
        found[device] = [hessian(rows).cpu(), *losses, torch.stack([step(point) for point in points]).cpu()]
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-9 * float(other.abs().max()))
