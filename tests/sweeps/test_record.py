import json
import time

import numpy as np
import pytest
import xarray as xr

from kdlandscape.cubes.schema import SchemaError
from kdlandscape.cubes.store import compact, missing, open_cube, read_checkpoints
from kdlandscape.sweeps.record import record
from kdlandscape.sweeps.witness import CONTEXT_VARIABLE


def result(lam=(0.1, 0.2), **coords):
    labels = {"long_name": "loss", "units": "nat"}
    return xr.Dataset({"loss": ("lam", np.arange(len(lam), dtype=float), labels)}, {"lam": list(lam), **coords})


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Stand in for the worker; return the path that record writes to."""

    def start(**changes):
        path = tmp_path / "result.nc"
        context = {
            "run": "seed=3-0",
            "result": str(path),
            "coords": {"seed": 3, "policy": "scaled"},
            "along": {},
            "labels": {},
            "vectorized": {"lam": [0.1, 0.2]},
            "given": {"width": 3, "name": None, "checkpoints": "/here"},
            "injected": ["checkpoints"],
            "spec_hash": "abc",
            "notebook_hash": "def",
            "folder": str(tmp_path),
            "started": time.time() - 5,
            **changes,
        }
        (tmp_path / "context.json").write_text(json.dumps(context))
        monkeypatch.setenv(CONTEXT_VARIABLE, str(tmp_path / "context.json"))
        return path

    return start


def test_by_hand_record_returns_its_dataset(monkeypatch):
    monkeypatch.delenv(CONTEXT_VARIABLE, raising=False)
    dataset = result()
    assert record(dataset) is dataset


def test_in_a_sweep_the_file_holds_the_run_at_its_coordinates(sweep):
    path = sweep()
    returned = record(result().assign_attrs(device="cpu", settings={"a": None}))
    with xr.open_dataset(path) as stored:
        assert dict(stored["loss"].sizes) == {"seed": 1, "policy": 1, "lam": 2}
        assert stored["seed"].item() == 3
        assert stored["policy"].item() == "scaled"
        assert stored.attrs["settings"] == '{"a": null}'
        assert (stored.attrs["run.id"], stored.attrs["run.recipe"]) == ("seed=3-0", "abc")
        xr.testing.assert_equal(stored["loss"], returned["loss"])


def test_in_a_sweep_the_file_says_where_its_numbers_come_from(sweep):
    path = sweep()
    record(result().assign_attrs(device="cpu"))
    with xr.open_dataset(path) as stored:
        facts = {name[4:]: stored[name] for name in stored.coords if name.startswith("run.")}
        assert all(fact.dims == ("seed", "policy") for fact in facts.values())
        assert all({"long_name", "units"} <= set(fact.attrs) for fact in facts.values())
        assert json.loads(facts["packages"].item())["numpy"] == np.__version__
        assert facts["device"].item() == "cpu"
        assert facts["notebook_hash"].item() == "def"
        assert 5 <= facts["wall_time"].item() < 60
        assert 1e7 < facts["peak_memory"].item() < 1e11
        assert len(facts["git_commit"].item()) in (0, 40)


def test_checkpoints_go_into_a_group_of_the_same_file(sweep):
    path = sweep()
    record(result(), checkpoints=xr.Dataset({"theta": ("dim", [1.0, 2.0], {"of": {"a": 1}})}))
    with xr.open_dataset(path, group="checkpoints") as stored:
        assert stored["theta"].values.tolist() == [1.0, 2.0]
    assert read_checkpoints(path).attrs == {"width": 3, "name": None}


def test_single_precision_coordinates_become_the_specs_literal_values(sweep):
    path = sweep()
    record(result(lam=np.array([0.1, 0.2], np.float32)))
    with xr.open_dataset(path) as stored:
        assert stored["lam"].values.tolist() == [0.1, 0.2]


def test_a_dim_or_coordinate_that_is_already_there_may_not_contradict_the_run(sweep):
    path = sweep()
    record(result(seed=3, policy="scaled").expand_dims("policy"))
    assert path.exists()
    path.unlink()
    with pytest.raises(SchemaError, match=r"seed: expected the coordinate \[3\] .*, got \[4\]"):
        record(result(seed=4).expand_dims("seed"))
    assert not path.exists()


def test_an_axis_between_runs_keeps_the_label_that_the_notebook_gave_it(sweep):
    path = sweep()
    label = {"long_name": "learning-rate policy", "units": "1", "symbol": "p"}
    record(result(policy=((), "scaled", label)))
    with xr.open_dataset(path) as stored:
        assert stored["policy"].attrs == label
        assert stored["policy"].values.tolist() == ["scaled"]


@pytest.mark.parametrize("lam", [(0.1, 0.3), (0.2, 0.1), (0.1, 0.2, 0.3)])
def test_a_vectorized_axis_has_to_have_the_specs_values(lam, sweep):
    path = sweep()
    with pytest.raises(SchemaError, match=r"lam: expected the coordinate \[0.1, 0.2\] that the spec gave this run"):
        record(result(lam))
    assert not path.exists()


def test_a_vectorized_axis_has_to_be_there(sweep):
    sweep(vectorized={"init_lambda": [0.1]})
    with pytest.raises(SchemaError, match=r"init_lambda: expected this dim, got lam"):
        record(result())


def test_a_variable_may_not_take_the_name_of_an_axis(sweep):
    sweep()
    with pytest.raises(SchemaError, match="seed: expected no variable with the name of an axis"):
        record(result().assign(seed=result()["loss"]))


def test_a_variable_may_be_called_as_a_fact_of_the_run_is(sweep):
    path = sweep()
    record(result().assign(python=result()["loss"]).assign_attrs(parameters="mine"))
    with xr.open_dataset(path) as stored:
        assert stored["python"].values.tolist() == [[[0.0, 1.0]]]
        assert stored["run.python"].item().count(".") == 2
        assert (stored.attrs["parameters"], json.loads(stored.attrs["run.parameters"])["width"]) == ("mine", 3)


def test_what_is_computed_from_a_cube_is_recorded_without_the_facts_of_its_runs(sweep):
    path = sweep()
    there = {"run.python": ("lam", ["2", "2"]), "run.done": ("lam", [True, True])}
    record(result().assign_coords(there).reset_coords("run.done").assign_attrs({"run.recipe": "theirs"}))
    with xr.open_dataset(path) as stored:
        assert stored.attrs["run.recipe"] == "abc"
        assert stored["run.python"].item() != "2"


def test_more_dims_than_a_file_can_hold_are_refused_with_those_of_the_grid(sweep):
    sweep(coords={f"a{i}": 0 for i in range(32)})
    with pytest.raises(SchemaError, match=r"loss: expected at most 32 dims, got 33 \(32 of them between the runs\)"):
        record(result())


def test_a_second_call_in_one_run_is_an_error(sweep):
    sweep()
    record(result())
    with pytest.raises(RuntimeError, match="expected one call in a run, got a second one in run seed=3-0"):
        record(result())


def test_a_slice_goes_into_a_cube_as_it_comes(sweep, tmp_path):
    import torch

    import kdlandscape as kdl

    inputs, targets = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    network = torch.nn.Linear(2, 2)
    objective = kdl.Objective(network, torch.nn.functional.cross_entropy, (inputs, targets))
    plane = kdl.slice_plane(objective, network, torch.eye(2, objective.dim), x=3, y=5)
    (tmp_path / "runs").mkdir()
    path = sweep(vectorized={}, coords={"seed": 3})
    record(plane)
    path.rename(tmp_path / "runs" / "3.nc")
    spec = {"study": "s", "grid": {"seed": [3, 4]}, "resolved": {"spec_hash": "abc"}}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    with open_cube(compact(tmp_path)) as cube:
        assert missing(cube) == [{"seed": 4}]
        np.testing.assert_array_equal(cube["loss"].sel(seed=3), plane["loss"])
        assert (cube["done"].sel(seed=3) == 1).all()
        assert cube["loss"].attrs == plane["loss"].attrs


def test_axes_have_the_labels_of_the_study_where_the_notebook_gives_none(sweep):
    words = {name: {"long_name": f"the {name}", "units": "m"} for name in ("policy", "lam", "elsewhere")}
    path = sweep(labels=words)
    record(result().assign_coords(lam=("lam", [0.1, 0.2], {"long_name": "own words"})))
    with xr.open_dataset(path) as stored:
        assert stored["policy"].attrs == {"long_name": "the policy", "units": "m"}
        assert stored["lam"].attrs["long_name"] == "own words"
        assert "long_name" not in stored["seed"].attrs
