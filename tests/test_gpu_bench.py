"""The one command of all GPU work runs at the size of a test, keeps what it measured, and mixes no devices."""

import json

import pytest
import torch

from kdlandscape.landscape.evaluation.strategy import Strategy
from tests.bench.bench_slices import ours as plane_of
from tests.bench.bench_students import batched, problem
from tests.bench.gpu import fig6b, products
from tests.bench.gpu.__main__ import main
from tests.bench.gpu.ledger import Ledger, Part, Row, Setting, measure, table
from tests.bench.problems import p1, resnet18
from tests.simulated_device import Generator, SimulatedDevice

pytest.importorskip("transformers")


def command(folder, *more):
    main(["--device", "cpu", "--tiny", "--folder", str(folder), "--data-set", "digits", *more])
    lines = (folder / "gpu.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], (folder / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_command_measures_every_part_once_and_writes_its_tables(tmp_path, capsys):
    entries, page = command(tmp_path)
    assert [entry for entry in entries if "error" in entry] == []
    assert {entry["part"] for entry in entries} == {"suite", "products", "planes", "students", "study", "fig6b"}
    assert page.count("\n## ") == 6
    off = [entry["values"]["off"] for entry in entries if entry["part"] == "products"]
    assert max(off) < 1e-4
    piece = [entry for entry in entries if entry["part"] == "fig6b"][-1]["values"]
    assert piece["runs"] == 1
    assert f"- {piece['said'][0]}" in page
    assert (tmp_path / "gpu_fig6b.png").stat().st_size > 10_000
    assert command(tmp_path)[0] == entries  # all of it is kept
    assert "not complete" not in capsys.readouterr().out


def counted(calls):
    def rows(setting):
        for name in ("first", "second", "third"):

            def call(name=name):
                calls.append(name)
                if name == "second" and calls.count(name) == 1:
                    raise MemoryError("the card is full")
                return {"number": len(calls)}

            yield Row(name, call, 60.0 if name == "third" else 0.0)

    return Part("Counted", rows, lambda found: table(["row", "number"], found, lambda _, v: [str(v["number"])]))


def test_a_row_that_failed_is_tried_again_and_one_that_is_done_is_not(tmp_path):
    calls, setting = [], Setting("cpu", tmp_path)
    part, path = counted(calls), tmp_path / "gpu.jsonl"
    assert not measure("counted", part, setting, Ledger(path, setting.machine))
    assert calls == ["first", "second", "third"]
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "- second: MemoryError: the card is full" in page
    assert "- Not complete yet." in page
    assert measure("counted", part, setting, Ledger(path, setting.machine))
    assert calls == ["first", "second", "third", "second"]
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| second | 4 |" in page
    assert "MemoryError" not in page
    Ledger(path, "another card").add("counted", "first", values={"number": 9})
    assert Ledger(path, setting.machine).of("counted")["first"]["values"] == {"number": 1}


def test_no_row_begins_without_the_time_it_takes(tmp_path):
    calls, setting = [], Setting("cpu", tmp_path, end=0.0)
    assert not measure("counted", counted(calls), setting, Ledger(tmp_path / "gpu.jsonl", setting.machine))
    assert calls == []


def test_a_command_without_a_gpu_or_with_an_unknown_part_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main([])
    assert "--device cpu --tiny tries the command without one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--parts", "products,plains"])
    assert "expected some of suite, products, planes, students, study, fig6b, got plains" in capsys.readouterr().err


@pytest.mark.parametrize(("start", "unit"), [(20.0, 5.0), (40.0, 30.0), (100.0, 500.0), (30.0, 0.2)])
def test_the_size_of_a_piece_fits_ten_minutes(start, unit):
    images, units = fig6b.size(start + unit, start + 2 * unit)
    assert fig6b.FEW <= images <= fig6b.IMAGES
    predicted = start + unit * units * images / fig6b.FEW
    assert predicted <= 600 or (images, units) == (fig6b.FEW, 1)
    assert predicted + unit * images / fig6b.FEW > fig6b.PIECE  # one unit more would not fit


@pytest.fixture
def simulated(monkeypatch):
    """Let "cuda" mean the simulated device."""
    monkeypatch.setattr(torch, "Generator", Generator)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with SimulatedDevice():
        yield "cuda"
    torch.__future__.set_overwrite_module_params_on_conversion(before)


@pytest.mark.parametrize("name", [name for name, (module, _) in products.CONTENDERS.items() if module == "torch"])
def test_a_contender_of_the_products_mixes_no_devices(name, simulated):
    if name.endswith("compiled"):
        pytest.skip("a compiler needs a real card")
    small = p1(0)
    small = small._replace(inputs=small.inputs[:20], targets=small.targets[:20])
    assert products.measured(small.to(simulated), name, 1, 0.0)["off"] < 1e-5


def test_planes_students_and_convolutions_of_the_bench_mix_no_devices(simulated):
    small = p1(0)
    run, _, _ = plane_of(
        small._replace(inputs=small.inputs[:20], targets=small.targets[:20]), Strategy(points=2), simulated
    )
    run(2)
    recipe = products.kdl.Recipe(epochs=1, batch_size=512, lr=0.05)
    there, here = (batched(*problem(4, torch.float64, device, 2), recipe) for device in (simulated, "cpu"))
    assert there.device.type == "cuda"
    assert there.cpu().shape == here.shape
    tiny = resnet18(2, 1).to(simulated)
    assert products.gradient(tiny).device.type == "cuda"
