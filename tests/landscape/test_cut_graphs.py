"""A network whose graph is cut between the first and the second derivative is refused by name; honest ones pass."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

import kdlandscape as kdl
from kdlandscape.landscape.curvature import cut_graphs
from kdlandscape.landscape.objective import Objective
from tests import dense
from tests.cases import CASES, IDS

N = 12


class Softplus(Function):
    """A backward that autograd may differentiate, if nothing hides it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return nn.functional.softplus(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.sigmoid(x)


class Once(Softplus):
    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.sigmoid(x)


class OnContext(Softplus):
    """The factor is computed in forward and kept as an attribute: to autograd it is a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.factor = torch.sigmoid(x)
        return nn.functional.softplus(x)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor


class Detached(Softplus):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.sigmoid(x.detach())


class NoGrad(Softplus):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            factor = torch.sigmoid(x)
        return g * factor


class Numpy(Softplus):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.from_numpy(1 / (1 + (-x.detach()).double().exp().numpy())).to(x)


class WrongTwice(Softplus):
    """The first derivative is right, and its own backward is half of what it should be."""

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * Half.apply(x)


class Half(Function):
    @staticmethod
    def forward(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(s)
        return s

    @staticmethod
    def backward(ctx, g):
        (s,) = ctx.saved_tensors
        return g * s * (1 - s) / 2


class StraightThrough(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(4 * x) / 4

    @staticmethod
    def backward(ctx, g):
        return g


class Layer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def gate_detached(x):
    return x * torch.sigmoid(x).detach()


def gate_without_grad(x):
    with torch.no_grad():
        gate = torch.sigmoid(x)
    return x * gate


def gate_by_numpy(x):
    return x * torch.from_numpy(1 / (1 + (-x.detach()).double().exp().numpy())).to(x)


def shifted_without_grad(x):
    """The gradient and its derivative agree, but neither is that of the loss."""
    return x + torch.tanh(x).detach()


def reentered(x):
    return checkpoint(torch.tanh, x, use_reentrant=True)


CUT = {
    "once_differentiable": Once.apply,
    "attribute of ctx": OnContext.apply,
    "detach in backward": Detached.apply,
    "no_grad in backward": NoGrad.apply,
    "numpy in backward": Numpy.apply,
    "wrong second derivative": WrongTwice.apply,
    "straight through": StraightThrough.apply,
    "detach in forward": gate_detached,
    "no_grad in forward": gate_without_grad,
    "numpy in forward": gate_by_numpy,
    "detached summand": shifted_without_grad,
}
HONEST = {
    "differentiable backward": Softplus.apply,
    "checkpoint that does not reenter": lambda x: checkpoint(torch.tanh, x, use_reentrant=False),
    "overwritten in place": lambda x: nn.functional.silu((x * 1).mul_(2), inplace=True).add_(1),
    "kinks": lambda x: torch.relu(x) + torch.relu(-x).clamp(max=0.3),
}


def network(function, *, dtype=torch.float64):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), Layer(function), nn.Linear(6, 3)]
        module = nn.Sequential(*layers).to(dtype)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(N, 4, generator=generator, dtype=torch.float64).to(dtype)
    return module, nn.CrossEntropyLoss(), (inputs, torch.randint(3, (N,), generator=generator))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [kdl.hessian, kdl.ggn])
@pytest.mark.parametrize("name", CUT)
def test_a_cut_graph_is_refused_and_its_layer_named(name, make, dtype):
    module, loss, data = network(CUT[name], dtype=dtype)
    if make is kdl.ggn and name in ("once_differentiable", "attribute of ctx", "detach in backward"):
        return  # the derivative of the outputs is right
    if make is kdl.ggn and name in ("no_grad in backward", "numpy in backward", "wrong second derivative"):
        return
    objective = Objective(module, loss, data)
    with pytest.raises((ValueError, NotImplementedError), match=r"layer '3' \(Layer\)"):
        make(objective, module)


@pytest.mark.parametrize("name", ["once_differentiable", "attribute of ctx", "numpy in backward"])
def test_the_gauss_newton_matrix_needs_first_derivatives_only_and_is_right_or_refused(name):
    module, loss, data = network(CUT[name])
    theta = dense.theta_of(module)
    try:
        g = kdl.ggn(Objective(module, loss, data), theta)
    except (ValueError, NotImplementedError) as error:
        assert "layer '3' (Layer)" in str(error)  # noqa: PT017
        return
    torch.testing.assert_close(g(torch.eye(g.dim, dtype=torch.float64)), dense.ggn(module, loss, data, theta))


def test_the_fault_that_was_seen_is_refused_before_any_question():
    module, loss, data = network(Once.apply)
    objective = Objective(module, loss, data)
    for ask in (
        lambda: objective.hvp(module, objective.theta),
        lambda: kdl.sharpness(objective, module),
        lambda: kdl.hessian(objective, module).trace(),
    ):
        with pytest.raises((ValueError, NotImplementedError), match=r"layer '3' \(Layer\)"):
            ask()


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_checkpoint_that_reenters_autograd_is_refused():
    module, loss, data = network(reentered)
    objective = Objective(module, loss, data)
    with pytest.raises((ValueError, NotImplementedError, RuntimeError), match=r"[Cc]heckpoint"):
        kdl.hessian(objective, module)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_layer_passes_in_every_precision(name, dtype):
    module, loss, data = network(HONEST[name], dtype=dtype)
    for make in (kdl.hessian, kdl.ggn):
        assert make(Objective(module, loss, data), module).facts["derivatives"] == "agree"


def test_a_detached_loss_is_blamed_on_the_loss():
    module, _, data = network(torch.tanh)
    loss = lambda z, y: nn.functional.cross_entropy(z, y, reduction="none") * z.detach().square().sum(1)  # noqa: E731
    with pytest.raises(ValueError, match="graph of the loss is cut"):
        kdl.hessian(Objective(module, loss, data), module)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_case_passes_at_its_initial_weights(case, dtype):
    module, loss, data = case.make(dtype=dtype)
    objective = Objective(module, loss, data)
    for make in (kdl.hessian, kdl.ggn, kdl.empirical_fisher):
        assert make(objective, module).facts["derivatives"] == "agree"


def test_kinks_on_which_initial_zeros_lie_pass():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    for layer in module[::2]:
        nn.init.zeros_(layer.bias)
    nn.init.zeros_(module[2].weight)
    inputs = torch.randn(N, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs[::2] = 0
    objective = Objective(module, nn.CrossEntropyLoss(), (inputs, torch.arange(N) % 3))
    assert kdl.hessian(objective, module).facts["derivatives"] == "agree"


def test_a_second_derivative_that_is_zero_by_right_passes():
    module = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).double()
    data = (torch.randn(N, 4, dtype=torch.float64), torch.zeros(N, dtype=torch.float64))
    h = kdl.hessian(Objective(module, lambda z, y: z - y, data), module)
    assert h.facts["derivatives"] == "agree"
    assert float((h @ h.theta).norm()) == 0


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_the_scale_of_the_loss_changes_no_verdict(factor):
    for function, honest in ((torch.tanh, True), (gate_detached, False)):
        module, _, data = network(function)

        def loss(z, y):
            return factor * nn.functional.cross_entropy(z, y, reduction="none")

        objective = Objective(module, loss, data)
        if honest:
            assert kdl.hessian(objective, module).facts["derivatives"] == "agree"
        else:
            with pytest.raises(ValueError, match=r"layer '3' \(Layer\)"):
                kdl.hessian(objective, module)


def test_the_check_is_made_once_for_an_objective(monkeypatch):
    from kdlandscape.landscape.curvature import operator

    count = []
    monkeypatch.setattr(operator, "refuse_cut_graphs", lambda *a: count.append(a) or "agree")
    module, loss, data = network(torch.tanh)
    objective = Objective(module, loss, data)
    for _ in range(3):
        objective.hvp(module, objective.theta)
    kdl.hessian(objective, module)
    assert len(count) == 1


@pytest.mark.parametrize("inplace", [False, True])
def test_the_layer_without_second_derivatives_is_named_beside_layers_that_work_in_place(inplace):
    module = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(inplace), nn.Linear(6, 6), nn.Hardsigmoid(inplace), nn.ReLU6(inplace), nn.Linear(6, 3)
    ).double()
    data = (torch.randn(N, 4, dtype=torch.float64), torch.arange(N) % 3)
    before = copy.deepcopy(module.state_dict())
    try:
        kdl.hessian(Objective(module, nn.CrossEntropyLoss(), data), module)
    except NotImplementedError as error:
        assert "layer '3' (Hardsigmoid) cannot be differentiated twice" in str(error)  # noqa: PT017
    else:
        pytest.fail("expected a refusal")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class Kink(nn.Module):
    """A ReLU whose kink lies as near as one likes to where the check looks first."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.7, -0.4], dtype=torch.float64))
        self.register_buffer("place", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return torch.relu(x @ self.weight - self.place)[:, None] + (x @ self.weight.sin())[:, None]


@pytest.mark.parametrize("kind", [kdl.empirical_fisher, kdl.ggn])
def test_a_kink_nearer_to_the_point_than_any_step_is_no_cut(kind):
    x, y = torch.ones(8, 2, dtype=torch.float64), torch.zeros(8, 1, dtype=torch.float64)
    model = Kink()
    first = cut_graphs._shifted(Objective(model, nn.MSELoss(), (x, y)), model.weight.detach(), 0)
    model.place.fill_(float(first.sum()) - 1e-12)
    objective = Objective(model, nn.MSELoss(), (x, y))
    slopes = cut_graphs._of_loss(objective, first, (x, y), kind.__name__, "reverse")
    assert cut_graphs._compare(slopes) > 0.01  # both central differences are half of either side's slope
    assert kind(objective, objective.theta).facts["derivatives"] == "agree"
