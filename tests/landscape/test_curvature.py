"""Curvature operators against dense float64 matrices by independent code, and the traps of those who went before."""

import copy

import pytest
import torch
from torch import nn

from kdlandscape.landscape.curvature.curvatures import empirical_fisher, fisher, ggn, hessian
from kdlandscape.landscape.curvature.plans import Plan
from kdlandscape.landscape.curvature.questions import Curvature
from kdlandscape.landscape.measured import ACTIVATION_BYTES
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.params import SpaceError
from tests import dense
from tests.cases import CASES, DEVICES, IDS, N

EXACT = {"rtol": 1e-10, "atol": 1e-10}
MAKE = {"hessian": hessian, "ggn": ggn, "fisher": fisher, "empirical_fisher": empirical_fisher}


def made(name, **settings):
    module, loss, data = CASES[IDS.index(name)].make()
    return module, loss, data, Objective(module, loss, data, **settings), dense.theta_of(module) * 1.1


def rows(objective, count=2):
    return torch.randn(count, objective.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_all_four_curvatures_equal_dense_matrices_by_independent_code(case, device):
    module, loss, data = case.make(device)
    objective = Objective(module, loss, data, batch_size=7)
    theta = dense.theta_of(module) * 1.1
    v = rows(objective).to(device)
    for curvature in ("hessian", "ggn", "fisher", "empirical_fisher"):
        expected = v @ getattr(dense, curvature)(module, loss, data, theta).to(device)
        torch.testing.assert_close(MAKE[curvature](objective, theta)(v), expected, **EXACT)


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
@pytest.mark.parametrize("plan", [Plan("reverse", 5, True, True), Plan("forward", 5), Plan("reverse", 5)], ids=str)
@pytest.mark.parametrize("name", ["mlp", "tied", "batch_norm", "residual_batch_norm", "class_weights", "attention"])
def test_every_way_to_take_products_gives_the_same(name, plan, curvature):
    module, loss, data, objective, theta = made(name)
    v = rows(objective)
    expected = v @ getattr(dense, curvature)(module, loss, data, theta)
    for memory in (0, 2**30):
        product = MAKE[curvature](objective, theta, plan=plan, memory=memory)
        for _ in range(2):
            torch.testing.assert_close(product(v), expected, **EXACT)


class Images(nn.Sequential):
    """Convolution, BatchNorm in eval mode, ReLU, and a head, on images."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )
        self[1].running_mean.uniform_(-0.5, 0.5)
        self[1].running_var.uniform_(0.5, 2)


def images():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Images().double().eval()
    inputs = torch.randn(N, 2, 6, 6, generator=generator, dtype=torch.float64)
    return module, nn.CrossEntropyLoss(), (inputs, torch.randint(3, (N,), generator=generator))


def test_channels_last_and_folded_batch_norm_on_images_change_nothing():
    module, loss, data = images()
    objective, theta = Objective(module, loss, data), dense.theta_of(module)
    v = rows(objective)
    expected = v @ dense.hessian(module, loss, data, theta)
    for plan in (Plan(examples=8, channels_last=True), Plan(examples=8, channels_last=True, fold=True), None):
        torch.testing.assert_close(hessian(objective, theta, plan=plan)(v), expected, **EXACT)


def test_the_plan_of_images_is_measured_once_and_remembered(monkeypatch):
    monkeypatch.setitem(ACTIVATION_BYTES, "cpu", 2**12)
    module, loss, data = images()
    objective = Objective(module, loss, data)
    first = hessian(objective, module)
    assert first.facts["examples_a_piece"] in (8, 2, "all")
    assert first.facts == hessian(objective, module).facts
    torch.testing.assert_close(
        first(rows(objective)), rows(objective) @ dense.hessian(module, loss, data, dense.theta_of(module)), **EXACT
    )


def compile_by(monkeypatch, compiler):
    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(torch._inductor, "compile", compiler)


def clock(monkeypatch, *seconds):
    """Let the eager product take one second, and each compiled one these; the fastest so far is timed beside each."""
    pairs = iter([[own, min([1.0, *seconds[:i]])] for i, own in enumerate(seconds)])
    monkeypatch.setattr("kdlandscape.landscape.curvature.compilation.fastest", lambda functions, **_: next(pairs))


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(("split", "whole", "kind"), [(2.0, 2.0, "none"), (0.5, 0.7, "split"), (0.9, 0.5, "whole")])
def test_a_compiled_product_is_kept_only_if_it_is_right_and_faster(monkeypatch, split, whole, kind, wrong):
    module, loss, data, objective, theta = made("tanh", batch_size=7)
    expected = dense.hessian(module, loss, data, theta)[:1]
    unit = torch.eye(objective.dim, dtype=torch.float64)[:1]
    compilers = [lambda f, *_, **__: f, lambda f, *_, **__: lambda *a: [1.01 * x for x in f(*a)]]
    compile_by(monkeypatch, compilers[wrong])
    clock(monkeypatch, split, whole)
    product = hessian(objective, theta, compile=True, plan=Plan("reverse", 7))
    assert product.facts["compiled"] == ("none" if wrong else kind)
    for _ in range(2):
        torch.testing.assert_close(product(unit), expected, **EXACT)


def test_a_split_that_does_not_fit_the_memory_is_dropped(monkeypatch):
    *_, objective, theta = made("tanh")
    compile_by(monkeypatch, lambda f, *_, **__: f)
    clock(monkeypatch, 0.5)
    assert hessian(objective, theta, compile=True, memory=1).facts["compiled"] == "whole"


def test_a_compiler_that_fails_leaves_the_eager_product(monkeypatch):
    def broken(function, *_, **__):
        raise RuntimeError("no compiler")

    compile_by(monkeypatch, broken)
    *_, objective, theta = made("tanh")
    assert hessian(objective, theta, compile=True).facts["compiled"] == "none"


def test_a_block_of_parameters_is_that_diagonal_block_of_the_matrix():
    module, loss, data, objective, theta = made("mlp", batch_size=7)
    for params in ("2.*", ["0.weight", "4.*"]):
        for curvature in ("hessian", "ggn", "empirical_fisher"):
            product = MAKE[curvature](objective, theta, params=params)
            whole = getattr(dense, curvature)(module, loss, data, theta)
            eye = torch.eye(product.dim, dtype=torch.float64)
            torch.testing.assert_close(product(eye), whole[product.places][:, product.places], **EXACT)


def test_a_block_that_matches_nothing_is_refused_with_the_nearest_names():
    *_, objective, theta = made("lstm")
    with pytest.raises(ValueError, match=r"'lstn.\*' matches no parameter.*nearest are lstm"):
        hessian(objective, theta, params="lstn.*")


def test_float64_on_demand_gives_what_a_float64_objective_gives():
    module, loss, data, exact, theta = made("batch_norm", batch_size=7)
    module32, data32 = copy.deepcopy(module).float(), (data[0].float(), data[1])
    single = Objective(module32, loss, data32, batch_size=7)
    point = single.ravel(theta.float())
    expected = dense.hessian(copy.deepcopy(module32).double(), loss, (data32[0].double(), data[1]), point.double())
    product = hessian(single, point, dtype=torch.float64)
    torch.testing.assert_close(product(torch.eye(exact.dim, dtype=torch.float64)), expected, **EXACT)
    assert single.dtype == torch.float32
    assert single.hvp(point, point).dtype == torch.float32


def test_a_loss_that_holds_another_precision_is_refused_by_saying_what_to_do():
    module, _, data = CASES[IDS.index("class_weights")].make(dtype=torch.float32)
    weight = torch.tensor([0.2, 1.0, 5.0])
    single = Objective(module, lambda z, y: nn.functional.cross_entropy(z, y, weight=weight, reduction="none"), data)
    with pytest.raises(ValueError, match=r"built with Objective\(..., dtype=torch.float64\)"):
        hessian(single, module, dtype=torch.float64)


# ---- traps of peers.md, by number


@pytest.mark.parametrize("curvature", ["hessian", "ggn", "fisher", "empirical_fisher"])
@pytest.mark.parametrize("name", ["mlp", "ignore_index"])
def test_traps_1_2_and_3_no_cut_of_the_data_changes_a_product(name, curvature):
    module, loss, data = CASES[IDS.index(name)].make()
    theta = dense.theta_of(module)
    products = []
    for size in (None, 1, 4, 22):
        objective = Objective(module, loss, data, batch_size=size)
        products.append(MAKE[curvature](objective, theta)(rows(objective)))
    for product in products[1:]:
        torch.testing.assert_close(product, products[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-8, 1e-5, 1e8])
@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_trap_4_the_curvature_of_c_times_the_loss_is_c_times_the_curvature(factor, curvature):
    module, _, data, objective, theta = made("tanh")
    scaled = Objective(module, lambda z, y: factor * nn.functional.cross_entropy(z, y, reduction="none"), data)
    v = rows(objective)
    expected = factor * MAKE[curvature](objective, theta)(v)
    torch.testing.assert_close(MAKE[curvature](scaled, theta)(v), expected, rtol=1e-11, atol=1e-12 * factor)


@pytest.mark.parametrize("curvature", ["hessian", "ggn", "fisher", "empirical_fisher"])
def test_trap_12_products_are_exact_hence_symmetric(curvature):
    *_, objective, theta = made("cnn_group_norm", batch_size=7)
    u, v = rows(objective)
    product = MAKE[curvature](objective, theta)
    assert float(u @ product(v)) == pytest.approx(float(v @ product(u)), rel=1e-12)
    torch.testing.assert_close(product(1e6 * v), 1e6 * product(v), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("curvature", ["hessian", "ggn", "fisher", "empirical_fisher"])
def test_trap_13_the_module_and_the_random_state_stay_bit_identical_also_after_an_error(curvature, fails):
    module, loss, data = CASES[IDS.index("batch_norm")].make()
    module.train()
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    objective = Objective(module, loss, data)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.get_rng_state()
    product = MAKE[curvature](objective, module, plan=Plan(fold=True))
    if fails:
        with pytest.raises(ValueError, match="expected v of shape"):
            product(torch.zeros(2))
    else:
        product(rows(objective))
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) and p.requires_grad for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert module.training


def test_trap_14_kernels_agree_in_float64_where_float32_flips_units():
    module, loss, data = images()
    objective = Objective(module, loss, data)
    plain, other = (hessian(objective, module, plan=Plan(examples=8, channels_last=c))(rows(objective)) for c in (0, 1))
    torch.testing.assert_close(plain, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_trap_15_changing_theta_in_place_afterwards_changes_nothing(curvature):
    *_, objective, theta = made("mlp")
    product = MAKE[curvature](objective, theta)
    before = product(rows(objective))
    theta.mul_(2)
    objective.theta.zero_()
    torch.testing.assert_close(product(rows(objective)), before, rtol=0, atol=0)


def test_trap_16_attention_and_large_outputs_need_no_double_backward_at_the_outputs(monkeypatch):
    """Cross entropy is applied in closed form: after it is recognized, the loss is not differentiated again."""
    module, loss, data, objective, theta = made("attention")
    product = ggn(objective, theta)
    v = rows(objective)
    expected = product(v)
    monkeypatch.setattr(objective.criteria, "reduce", None)
    torch.testing.assert_close(product(v), expected)
    torch.testing.assert_close(expected, v @ dense.ggn(module, loss, data, theta), **EXACT)


@pytest.mark.parametrize("dims", [(), (4,)])
def test_cross_entropy_is_recognized_with_soft_labels_and_over_places(dims):
    from kdlandscape.landscape.curvature.outputs import between

    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 3, *dims, generator=generator, dtype=torch.float64)
    soft = torch.rand(6, 3, *dims, generator=generator, dtype=torch.float64)

    class Fake:
        def reduce(self, outputs, targets):
            from kdlandscape.landscape.reduction import Reduced

            return Reduced(nn.functional.cross_entropy(outputs, targets, reduction="sum", label_smoothing=0.1), 6.0)

    matrix = torch.autograd.functional.hessian(lambda a: Fake().reduce(a.view_as(z), soft).total, z.flatten())
    u = torch.randn(z.shape, generator=generator, dtype=torch.float64)
    product = between(Fake(), z, soft, "ggn")
    assert "scale" in product.__code__.co_freevars
    torch.testing.assert_close(product(u).flatten(), matrix @ u.flatten(), **EXACT)


def test_other_losses_are_differentiated_at_the_outputs():
    module, _, data = CASES[IDS.index("mlp")].make()
    for loss in (
        lambda z, y: nn.functional.cross_entropy(z / 4, y, reduction="none"),
        lambda z, y: (nn.functional.softplus(z) - z * nn.functional.one_hot(y, 3)).sum(1),
    ):
        objective = Objective(module, loss, data)
        v = rows(objective)
        expected = v @ dense.ggn(module, lambda z, y, f=loss: f(z, y).mean(), data, dense.theta_of(module))
        torch.testing.assert_close(ggn(objective, module)(v), expected, **EXACT)


def test_a_loss_that_vmap_cannot_follow_still_has_an_empirical_fisher_matrix():
    module, _, data = CASES[IDS.index("mlp")].make()

    def loss(z, y):
        weight = torch.tensor([[0.5, 1.0, 2.0][int(i)] for i in y], dtype=z.dtype)
        return (weight * nn.functional.cross_entropy(z, y, reduction="none")).sum(), weight.sum()

    weighted = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 1.0, 2.0]).double())
    theta = dense.theta_of(module)
    objective = Objective(module, loss, data)
    expected = rows(objective) @ dense.empirical_fisher(module, weighted, data, theta)
    torch.testing.assert_close(empirical_fisher(objective, theta)(rows(objective)), expected, **EXACT)


# ---- bad input


class Bag(nn.Module):
    """A layer without second derivatives between two that have them."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(7, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.words(x)))


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_a_layer_without_second_derivatives_is_named(curvature):
    targets = torch.arange(N) % 3
    objective = Objective(Bag().double(), nn.CrossEntropyLoss(), (torch.arange(3 * N).view(N, 3) % 7, targets))
    with pytest.raises(NotImplementedError, match=r"layer 'words' \(EmbeddingBag\) cannot be differentiated twice"):
        MAKE[curvature](objective, objective.theta)


def test_bad_points_weights_and_options_are_refused_with_what_to_do():
    *_, objective, theta = made("mlp")
    with pytest.raises(SpaceError, match=r"expected theta of shape \(73,\), got \(72,\)"):
        hessian(objective, theta[1:])
    with pytest.raises(ValueError, match="the loss at theta is nan: expected a finite number"):
        hessian(objective, theta * torch.nan)
    with pytest.raises(ValueError, match="one of hessian, ggn, fisher, empirical_fisher; got 'kfac'"):
        Curvature(objective, theta, "kfac")
    with pytest.raises(ValueError, match=r"expected v of shape \(73,\) or \(K, 73\), got \(1, 1, 73\)"):
        hessian(objective, theta)(theta[None, None])
    with pytest.raises(ValueError, match="one of reverse, forward; got 'sideways'"):
        Plan("sideways")
    with pytest.raises(ValueError, match="examples of at least 1, got 0"):
        Plan(examples=0)
    module, loss, (inputs, targets) = CASES[IDS.index("ignore_index")].make()
    nothing = Objective(module, loss, (inputs, targets))
    nothing.batches = nothing.batches.holding((inputs, torch.full_like(targets, -100)))
    with pytest.raises(ValueError, match="positive weight, got a total weight of 0"):
        hessian(nothing, module)


def test_statistics_that_are_reestimated_at_every_point_have_no_curvature_here():
    *_, objective, theta = made("batch_norm")
    with pytest.raises(ValueError, match="got 'recalibrate'"):
        hessian(objective.with_batch_norm("recalibrate"), theta)


def test_outputs_that_are_no_tensor_are_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return {"z": self.layer(x), "size": x.square().mean(1)}

    _, _, data = CASES[0].make()
    objective = Objective(Pair().double(), lambda z, y: nn.functional.cross_entropy(z["z"], y) + z["size"].mean(), data)
    hessian(objective, objective.theta)(rows(objective))
    with pytest.raises(ValueError, match="outputs in one tensor, a row an example; got dict"):
        ggn(objective, objective.theta)


class TakesGradients(nn.Module):
    """A network whose output is the gradient of an energy, as of Hamiltonian networks."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x):
        return torch.func.vmap(torch.func.grad(lambda one: self.energy(one)[0]))(x)


class TakesThemByAutograd(TakesGradients):
    def forward(self, x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
@pytest.mark.parametrize("network", [TakesGradients, TakesThemByAutograd])
def test_a_network_that_takes_a_gradient_in_its_forward_pass_has_its_third_derivatives(network, kind):
    """Against the dense matrix by automatic differentiation of the whole, without the library."""
    torch.manual_seed(0)
    model, like = network().double(), TakesGradients().double()
    x, y = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    objective, reference = (Objective(one, nn.MSELoss(), (x, y)) for one in (model, like))

    def outputs(theta):
        return reference.outputs(theta, x)

    if kind == "hessian":
        expected = torch.func.hessian(lambda theta: (outputs(theta) - y).square().mean())(objective.theta)
    else:
        jacobian = torch.func.jacfwd(outputs)(objective.theta).flatten(0, 1)
        expected = 2 / y.numel() * jacobian.T @ jacobian
    found = MAKE[kind](objective, objective.theta)
    torch.testing.assert_close(found @ torch.eye(objective.dim).double(), expected, rtol=1e-9, atol=1e-12)
    top = float(found.top_eigenpairs(1)["eigenvalues"][0])
    assert top == pytest.approx(float(torch.linalg.eigvalsh(expected)[-1]), rel=1e-6)
