"""On a simulated GPU: every question answers as it does on the host, and none mixes the two or waits in a hot loop."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.landscape.curvature import products
from kdlandscape.landscape.evaluation import points
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.sweeps.notebook import code_cells
from kdlandscape.sweeps.parameters import read_parameters
from tests.simulated_device import Generator, OnDevice, SimulatedDevice
from tests.site.executions import NOTEBOOKS
from tests.site.sizes import SMALL

LOSS = nn.CrossEntropyLoss()
RECIPE = kdl.Recipe(epochs=2, batch_size=5, lr=0.1)


@pytest.fixture
def simulated(monkeypatch):
    """Let "cuda" mean the simulated device."""
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(points, "choose", lambda *_: Strategy())  # a trial measures time, and asks for a card's memory
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with SimulatedDevice():
        yield "cuda"
    torch.__future__.set_overwrite_module_params_on_conversion(before)


class Setting:
    """Two networks, their data and an objective, on one device."""

    def __init__(self, device):
        draw = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(20, 5, dtype=torch.float64, generator=draw).to(device)
        self.targets = torch.randint(3, (20,), generator=draw).to(device)
        self.first, self.second = (self.network(seed).to(device) for seed in (0, 1))
        self.objective = kdl.Objective(self.first, LOSS, (self.inputs, self.targets))
        self.thetas = torch.stack([self.objective.theta, self.objective.ravel(self.second)])

    @staticmethod
    def network(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()

    def generator(self):
        return torch.Generator(self.inputs.device).manual_seed(0)

    def trained(self, recipe=RECIPE):
        return kdl.train(self.first, self.thetas, self.inputs, self.targets, recipe, generator=self.generator())

    def distilled(self):
        return kdl.distill(
            self.first,
            self.thetas,
            self.thetas.flip(0),
            self.inputs,
            RECIPE,
            generator=self.generator(),
            temperature=4.0,
        )


def plane(s):
    directions = kdl.random_directions(s.first, 2, generator=torch.Generator().manual_seed(0))
    return kdl.slice_plane(s.objective, s.first, directions, x=[-1, 0, 1], y=[-1, 0.0])["loss"]


QUESTIONS = {
    "value": lambda s: s.objective.value(s.first),
    "gradient": lambda s: s.objective.grad(s.first),
    "outputs": lambda s: s.objective.predict(s.second),
    **{
        name: lambda s, make=make: make(s.objective, s.first) @ s.thetas
        for name, make in (("hessian", kdl.hessian), ("ggn", kdl.ggn), ("fisher", kdl.fisher))
    },
    "empirical Fisher": lambda s: kdl.empirical_fisher(s.objective, s.first) @ s.thetas[1],
    "eigenpairs": lambda s: kdl.hessian(s.objective, s.first).top_eigenpairs(2)["eigenvalues"],
    "interpolation": lambda s: kdl.interpolate(s.objective, s.first, s.second, t=5)["loss"],
    "plane": plane,
    "curve": lambda s: kdl.bezier(s.objective, s.first, s.second, steps=3, generator=s.generator()),
    "alignment": lambda s: kdl.align(s.objective, s.first, s.second).theta,
    "fidelity": lambda s: kdl.fidelity(s.objective.predict(s.first), s.objective.predict(s.second), s.targets),
    "cka": lambda s: kdl.cka(s.objective.predict(s.first), s.objective.predict(s.second)),
    "train": lambda s: s.trained().thetas,
    "distill": lambda s: s.distilled().thetas,
}


def numbers(answer):
    if isinstance(answer, torch.Tensor):
        return np.asarray(answer.detach().cpu())
    return answer.to_array().values if hasattr(answer, "to_array") else np.asarray(getattr(answer, "values", 0.0))


@pytest.fixture(scope="module")
def host():
    return Setting("cpu")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_on_a_device_gives_the_answer_of_the_host(name, host, simulated):
    there = Setting(simulated)
    assert there.objective.device.type == "cuda"
    answers = [QUESTIONS[name](setting) for setting in (host, there)]
    if isinstance(answers[0], torch.Tensor):
        assert answers[1].device.type == "cuda"
    if name != "curve":  # its start draws on the device, whose stream is not the host's
        np.testing.assert_allclose(numbers(answers[1]), numbers(answers[0]), rtol=1e-9, atol=1e-9)


FEWER = {"basins.ipynb": {"depth": 1, "path_points": 3, "curve_steps": 1, "restarts": 1, "num_eigenvalues": 1}}


def notebooks():
    names = {path.name for path in NOTEBOOKS.glob("*.ipynb") if "device" in read_parameters(path)}
    return sorted(names - {"posterior.ipynb"})  # forward mode makes the zero tangents of a simulated tensor on the host


@pytest.mark.parametrize("name", notebooks())
def test_a_notebook_runs_on_a_device(name, simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in code_cells(NOTEBOOKS / name):
        exec(compile(cell["source"], name, "exec"), names)
        if "parameters" in cell["tags"]:
            names |= {**SMALL[name], **FEWER.get(name, {}), "device": simulated}
    plt.close("all")
    assert names["p"].train[0].device.type == next(names["p"].model.parameters()).device.type == "cuda"


def test_a_problem_of_ones_own_takes_its_weighted_loss_along(simulated):
    host = Setting("cpu")
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), reduction="none")
    data = (host.inputs, host.targets)
    mine = kdl.Problem(lambda: host.network(0), data, data, loss=weighted, metrics={"same": weighted}).checked()
    found = []
    for device in ("cpu", simulated):
        p = mine.to(device)
        generator = torch.Generator(device).manual_seed(0)
        thetas = kdl.train(p.model, p.initial([0, 1]), *p.train, RECIPE, generator=generator, loss=p.loss).thetas
        found.append(numbers(thetas))
        assert p.metrics["same"](p.model(p.test[0]), p.test[1]).device.type == torch.device(device).type
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert weighted.weight.device.type == "cpu"


def test_random_estimates_run_on_a_device(simulated):
    there = Setting(simulated)
    h = kdl.hessian(there.objective, there.first)
    assert bool(np.isfinite(h.spectral_density(num_matvecs=5, num_draws=2)["density"]).all())
    assert bool(np.isfinite(h.trace(max_matvecs=12, rtol=0)["trace"]).all())
    assert bool(np.isfinite(h.diagonal(max_matvecs=6)["diagonal"]).all())


def test_a_host_tensor_planted_into_a_product_is_found(simulated, monkeypatch):
    there = Setting(simulated)
    h = kdl.hessian(there.objective, there.first)
    plain = products.gradient
    monkeypatch.setattr(products, "gradient", lambda *a, **k: plain(*a, **k) + torch.zeros(h.dim, dtype=torch.float64))
    with pytest.raises(RuntimeError, match=r"expected all tensors of aten.add.Tensor on cuda:0"):
        h @ there.thetas[0]


def test_a_generator_of_the_host_does_not_draw_on_the_device(simulated):
    with pytest.raises(RuntimeError, match="expected a generator of the device of randn"):
        torch.randn(3, generator=torch.Generator(), device=simulated)


def test_hot_loops_wait_for_nothing_on_the_device(simulated):
    there = Setting(simulated)
    h = kdl.hessian(there.objective, there.first)
    h @ there.thetas[0]

    def waits(call):
        OnDevice.waits.clear()
        call()
        return len(OnDevice.waits)

    assert waits(lambda: h @ there.thetas) == 0
    assert waits(lambda: there.objective.value(there.thetas[0]).item()) == 1  # what waits is counted
    t = [waits(lambda n=n: kdl.interpolate(there.objective, there.first, there.second, t=n)) for n in (5, 9)]
    assert t[0] == t[1]
    steps = [waits(lambda n=n: kdl.bezier(there.objective, there.first, there.second, steps=n)) for n in (3, 6)]
    assert steps[0] == steps[1]
    few, many = (kdl.Recipe(epochs=2, batch_size=size, lr=0.1) for size in (10, 2))
    assert waits(lambda: there.trained(few)) == waits(lambda: there.trained(many))  # an epoch waits, a step does not
