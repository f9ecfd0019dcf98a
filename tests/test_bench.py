"""The benches run at a tiny size, and write down what they measured."""

import re

import pytest

from tests.bench import forecast, peers
from tests.bench.goals import LINE
from tests.bench.sections import update
from tests.tiny_study import write_spec

pytest.importorskip("transformers")
from tests.bench import at_size

TINY = at_size.Size(layers=1, width=8, vocabulary=300, rows=4, length=8)


def here(what, size, *arguments):
    """Measure in this process; a contender that fails gives its error, as from a process of its own."""
    try:
        return at_size.here(what, size, *arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def test_the_bench_at_size_writes_what_it_measured_and_names_who_is_missing(tmp_path):
    page = tmp_path / "page.md"
    update(page, at_size.HEAD, at_size.products(TINY, 2, here), 0.0)
    update(page, at_size.HEAD, at_size.eigenpairs(TINY, 2, 1e-4), 0.0)  # in a process of its own
    update(page, at_size.HEAD, at_size.eigenpairs(TINY, 2, 1e-3, here), 0.0)  # the section is written anew
    text = page.read_text(encoding="utf-8")
    assert text.count("\n## ") == 2
    assert text.count("converge to 0.001") == 1
    goals = {found["what"]: found["got"] for found in LINE.finditer(text)}
    for kept in ("nothing kept", "graphs kept"):
        row = re.search(rf"\| kdlandscape, {kept} \| (.*) \|", text)[1].split(" | ")
        assert row[1] == goals[f"GPT-2 small, a Hessian product ≤ 3.5 gradients, {kept}"]
    assert re.fullmatch(r"2 in \d+ products", goals["the top 2 eigenpairs of GPT-2 small converge to 0.001"])
    for module, name in (("pyhessian", "PyHessian, loader"), ("curvlinops", "curvlinops")):
        assert f"| {name}" in text or f"{module} left out (ModuleNotFoundError" in text


def test_a_peer_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(peers.INSTALL, "no_such_peer", "pip install no-such-peer")
    said = peers.missing(["no_such_peer", "torch"])
    assert list(said) == ["no_such_peer"]
    assert said["no_such_peer"].endswith("install it by `pip install no-such-peer`")


def test_the_bench_of_forecasts_says_what_was_expected_and_measured_and_does_nothing_twice(tmp_path, monkeypatch):
    spec, root, page = write_spec(tmp_path), tmp_path / "studies", tmp_path / "page.md"
    forecast.main([str(spec), "--root", str(root), "--page", str(page)])
    text = page.read_text(encoding="utf-8")
    (found,) = LINE.finditer(text)
    assert found["what"] == "tiny: measured within 30% of the expected time"
    assert re.search(rf"^\| \d+ \| \d \| .* \| {found['got'].split()[0]} \|$", text, re.MULTILINE)
    monkeypatch.setattr(forecast, "run_study", None)
    forecast.main([str(spec), "--root", str(root), "--page", str(page)])
    assert page.read_text(encoding="utf-8").count("## tiny") == 1
