"""Every number is labelled by whoever computes it: names, units and definitions are those of this very number."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

import kdlandscape as kdl
from kdlandscape.distillation import tempered_kl, to_teacher
from kdlandscape.landscape.trajectory import travel

PACKAGE = Path(kdl.__file__).parent
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(seed=0, out=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, out)).double()


def regression(**settings):
    return kdl.Objective(network(out=1), nn.MSELoss(), (X, X[:, :1] ** 2), **settings)


def classification():
    return kdl.Objective(network(), nn.CrossEntropyLoss(), (X, torch.arange(40) % 4))


def theta(model):
    return torch.cat([parameter.detach().ravel() for parameter in model.parameters()])


@pytest.fixture
def plane_through_three():
    return [network(seed, out=1) for seed in range(3)]


def test_the_plane_of_a_squared_error_has_no_nat(plane_through_three):
    objective = regression()
    layout = kdl.plane_through(*map(theta, plane_through_three))
    plane = kdl.slice_plane(objective, objective.theta, layout.directions, x=3, y=3)
    assert plane["loss"].attrs["units"] == "1"
    path = kdl.interpolate(objective, *plane_through_three[:2], t=3)
    assert path["loss"].attrs["units"] == kdl.barrier(path).attrs["units"] == "1"
    assert kdl.hessian(objective, objective.theta).top_eigenpairs(2)["eigenvalues"].attrs["units"] == "1"


def test_the_unit_that_a_user_gives_travels_with_the_loss_to_every_result(plane_through_three):
    objective = regression(units="m²")
    path = kdl.interpolate(objective, *plane_through_three[:2], t=3)
    barriers = kdl.barrier_matrix(objective, plane_through_three[:2], ["a", "b"], t=3)
    curvature = kdl.hessian(objective, objective.theta)
    found = {
        "path": path["loss"],
        "barrier": kdl.barrier(path),
        "matrix": barriers["barrier"],
        "eigenvalue": curvature.top_eigenpairs(2)["eigenvalues"],
        "trace": curvature.trace()["trace"],
        "line": kdl.slice_line(objective, objective.theta, theta(plane_through_three[1]), x=3)["loss"],
    }
    assert {name: values.attrs["units"] for name, values in found.items()} == dict.fromkeys(found, "m²")


def test_a_cross_entropy_is_in_nats_and_a_metric_keeps_its_own_label():
    objective = kdl.Objective(
        network(), nn.CrossEntropyLoss(), (X, torch.arange(40) % 4), metrics={"spread": spread, "right": right}
    )
    path = kdl.interpolate(objective, network(1), network(2), t=3)
    assert path["loss"].attrs["units"] == "nat"
    assert (path["spread"].attrs["long_name"], path["spread"].attrs["units"]) == ("spread of the logits", "bit")
    assert (path["right"].attrs["long_name"], path["right"].attrs["units"]) == ("right", "1")


@kdl.labelled("spread of the logits", "bit")
def spread(outputs, targets):
    return outputs.std(-1)


def right(outputs, targets):
    return (outputs.argmax(-1) == targets).double()


@pytest.mark.parametrize(("make", "word"), [("hessian", "hessian"), ("ggn", "ggn"), ("fisher", "fisher")])
def test_an_eigenvalue_is_called_after_its_matrix(make, word):
    objective = classification()
    found = getattr(kdl, make)(objective, objective.theta).top_eigenpairs(2)["eigenvalues"]
    name = found.attrs["long_name"].lower()
    assert word in name or (word == "ggn" and "gauss" in name)
    assert word == "hessian" or "hessian" not in name


def test_a_barrier_names_its_definition_and_its_loss():
    teacher = network(1)
    logits = teacher(X).detach()
    ends = network(2), network(3)

    def of(temperature):
        objective = kdl.Objective(network(), to_teacher(tempered_kl, temperature), (X, logits))
        return kdl.barrier(kdl.interpolate(objective, *ends, t=5))

    cold, warm = of(1.0), of(4.0)
    assert warm.attrs["definition"].startswith("chord: ")
    assert kdl.barrier(kdl.interpolate(classification(), *ends, t=3), definition="end").attrs["definition"][:3] == "end"
    assert "τ = 4" in warm.attrs["long_name"]
    assert "τ²" in warm.attrs["of"]
    assert "τ = 4" not in cold.attrs["long_name"]
    assert cold.attrs["of"] != warm.attrs["of"]
    assert cold.attrs["units"] == warm.attrs["units"] == "nat"


def test_without_a_teacher_no_label_speaks_of_one():
    objective = classification()
    pairs = kdl.hessian(objective, objective.theta).top_eigenpairs(2, vectors=True)
    trajectory = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0))
    found = {
        **kdl.perturb(objective, objective.theta, pairs, [0.1]),
        **travel(trajectory, torch.zeros(6), steps=range(4)),
        **kdl.interpolate(objective, network(1), network(2), t=3),
    }
    said = {name: values.attrs["long_name"] for name, values in found.items()}
    assert not [name for name, words in said.items() if "teacher" in words or "student" in words]


@pytest.mark.parametrize("folder", ["linalg", "cubes", "landscape", "sweeps"])
def test_no_text_on_the_generic_floors_speaks_of_teachers(folder):
    """A docstring may take one as its example; a label, a message or a table from names to meanings may not."""
    for path in (PACKAGE / folder).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
                      and isinstance(node.body[0], ast.Expr)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                assert "teacher" not in node.value and "student" not in node.value, f"{path.name}: {node.value!r}"  # noqa: PT018
