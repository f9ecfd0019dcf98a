import pytest
import torch
from torch import nn

from kdlandscape.landscape import measured
from kdlandscape.landscape.evaluation import graph, trial
from kdlandscape.landscape.evaluation.evaluator import evaluator
from kdlandscape.landscape.evaluation.remembered import remembered
from kdlandscape.landscape.evaluation.strategy import Strategy
from kdlandscape.landscape.measured import Compared, compared
from kdlandscape.landscape.objective import Objective
from kdlandscape.landscape.reduction import calibration_error
from tests import dense
from tests.cases import CASES, DEVICES, IDS

EXACT = {"rtol": 1e-12, "atol": 1e-12}
STRATEGIES = [
    Strategy(),
    Strategy(examples=7),
    Strategy(points=3),
    Strategy(trace=True),
    Strategy(trace=True, examples=9, affine=True),
    Strategy(trace=True, examples=5, workers=2),
]
#: What a strategy cannot do, and says so.
NO_LAYER_FIRST = "no layer is affine in theta: expected affine=False"
REFUSED = {
    ("lstm", "points"): r"layer 'lstm' \(LSTM\) cannot run several points at once .* use Strategy\(points=1\)",
    ("batch_norm", "affine"): NO_LAYER_FIRST,
    ("attention", "affine"): NO_LAYER_FIRST,
    ("embedding", "affine"): NO_LAYER_FIRST,
}


def plane(objective, k=5):
    generator = torch.Generator().manual_seed(3)
    directions = torch.randn(2, objective.dim, dtype=torch.float64, generator=generator).to(objective.device)
    return 0.1 * directions, torch.randn(k, 2, dtype=torch.float64, generator=generator).to(objective.device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: "-".join(s.facts()))
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_strategy_equals_the_dense_reference_or_names_the_way_out(case, strategy, device):
    module, loss, data = case.make(device)
    objective = Objective(module, loss, data)
    directions, points = plane(objective)
    evaluate = evaluator(objective, strategy, objective.theta, directions)
    refused = [message for (name, what), message in REFUSED.items() if name == case.name and what in strategy.facts()]
    if device == "cuda" and case.name == "lstm":
        refused = []  # recurrence is computed by its plain formula there
    if refused and (strategy.points > 1 or strategy.affine):
        with pytest.raises(ValueError, match=refused[0]):
            evaluate(points)
        return
    thetas = objective.theta + points @ directions
    expected = torch.stack([dense.value(module, loss, data, theta) for theta in thetas])
    torch.testing.assert_close(evaluate(points)["loss"], expected, **EXACT)
    torch.testing.assert_close(evaluate(points[:2])["loss"], expected[:2], **EXACT)


@pytest.mark.parametrize("strategy", [Strategy(examples=6), Strategy(points=2), Strategy(trace=True)])
def test_thetas_without_a_plane_are_evaluated_by_every_strategy(strategy):
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data, metrics={"ece": calibration_error()})
    thetas = torch.stack([objective.theta, 1.5 * objective.theta, -objective.theta])
    expected = objective.evaluate(thetas)
    for name, values in objective.evaluate(thetas, strategy=strategy).items():
        torch.testing.assert_close(values, expected[name], **EXACT)


def test_convolution_and_batch_norm_fold_exactly_with_channels_last():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
    data = torch.randn(11, 3, 6, 6, dtype=torch.float64), torch.randint(3, (11,))
    loss = nn.CrossEntropyLoss()
    objective = Objective(module, loss, data)
    thetas = objective.theta + 0.3 * torch.randn(3, objective.dim, dtype=torch.float64)
    expected = torch.stack([dense.value(module, loss, data, theta) for theta in thetas])
    for settings in ({}, {"channels_last": True}, {"channels_last": True, "examples": 4}):
        strategy = Strategy(trace=True, **settings)
        torch.testing.assert_close(objective.evaluate(thetas, strategy=strategy)["loss"], expected, **EXACT)


@pytest.mark.slow
def test_a_compiled_graph_gives_the_same_numbers():
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    directions, points = plane(objective, 3)
    expected = evaluator(objective, Strategy(), objective.theta, directions)(points)["loss"]
    try:
        compiled = evaluator(objective, Strategy(trace=True, compile=True), objective.theta, directions)(points)
    except ValueError as error:
        pytest.skip(f"no compiler here: {error}")
    torch.testing.assert_close(compiled["loss"], expected, **EXACT)


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """The strategies that a trial prepares, with nothing remembered before."""
    monkeypatch.setenv("KDLANDSCAPE_CACHE", str(tmp_path))
    monkeypatch.setattr(trial, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 60.0)
    found = []
    monkeypatch.setattr(trial, "_prepared", lambda *args, old=trial._prepared: found.append(args[1]) or old(*args))
    return found


class Weights(nn.Linear):
    """A network whose output is a part of its weights."""

    def forward(self, x):
        return self.weight


@pytest.mark.parametrize("network", [nn.Linear, Weights])
@pytest.mark.parametrize("strategy", [Strategy(trace=True), Strategy(trace=True, affine=True), Strategy(points=4)])
def test_a_result_that_is_a_part_of_theta_or_of_the_first_layer_is_that_of_its_point(network, strategy):
    """All points are written to the same place, one after the other."""
    if network is Weights and strategy.affine:
        return  # no layer
    objective = Objective(
        network(2, 1).double(), lambda z, y: (z[0, 0], torch.ones(())), (torch.ones(1, 2), torch.ones(1))
    )
    directions, points = plane(objective, 3)
    expected = evaluator(objective, Strategy(), objective.theta, directions)(points)["loss"]
    assert len(set(expected.tolist())) == 3
    found = evaluator(objective, strategy, objective.theta, directions)(points)["loss"]
    torch.testing.assert_close(found, expected, **EXACT)


def test_a_trial_changes_no_number_and_is_remembered(tried):
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    directions, points = plane(objective, 30)
    strategy = trial.choose(objective, points, objective.theta, directions)
    assert {"trace", "affine", "points"} <= {name for candidate in tried for name in candidate.facts()}
    values = evaluator(objective, strategy, objective.theta, directions)(points)["loss"]
    torch.testing.assert_close(
        values, evaluator(objective, Strategy(), objective.theta, directions)(points)["loss"], **EXACT
    )
    count = len(tried)
    assert trial.choose(objective, points, objective.theta, directions) == strategy
    assert len(tried) == count


def test_a_point_a_thread_is_tried_where_recording_alone_gains_nothing(tried, monkeypatch):
    """Beside a busy core two threads that share a point wait for each other; a loop and a recording alike."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(trial, "compared", lambda *_, **__: Compared(0.5 if tried[-1].workers > 1 else 1.0, True))
    objective = Objective(*CASES[0].make())
    directions, points = plane(objective, 30)
    assert trial.choose(objective, points, objective.theta, directions) == Strategy(trace=True, workers=2)
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)).double()
    data = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.randint(3, (5,))
    objective = Objective(images, nn.CrossEntropyLoss(), data)
    directions, points = plane(objective, 30)
    tried.clear()
    trial.choose(objective, points, objective.theta, directions)
    assert next(one for one in tried if one.channels_last).workers == 2  # compared where little disturbs it


def test_two_micro_batches_stand_for_all_of_them(tried, monkeypatch):
    seen = []
    monkeypatch.setattr(measured, "ACTIVATION_BYTES", {"cpu": 256})  # of four examples
    monkeypatch.setattr(trial, "_prepared", lambda *args, old=trial._prepared: seen.append(args[0]) or old(*args))
    module, loss, data = next(case for case in CASES if case.name == "mlp").make()
    objective = Objective(module, loss, data)
    directions, points = plane(objective, 30)
    strategy = trial.choose(objective, points, objective.theta, directions)
    assert strategy.examples is not None
    assert {part.num_examples for part in seen} == {2 * strategy.examples}
    values = evaluator(objective, strategy, objective.theta, directions)(points)["loss"]
    torch.testing.assert_close(
        values, evaluator(objective, Strategy(), objective.theta, directions)(points)["loss"], **EXACT
    )


def test_a_choice_outlives_its_process_for_the_same_problem_and_can_be_inspected(tried, monkeypatch):
    monkeypatch.setattr(trial, "compared", lambda *_, **__: Compared(0.5, True))
    module, loss, data = CASES[0].make()

    def choose(*given):
        objective = Objective(*given)
        directions, points = plane(objective, 30)
        tried.clear()
        return trial.choose(objective, points, objective.theta, directions)

    strategy = choose(module, loss, data)
    assert len(tried) > 2
    (known,) = remembered()
    assert Strategy(**known["strategy"]) == strategy
    assert known["problem"]["network"] == str(module)
    assert known["machine"]["torch"] == torch.__version__
    assert known["times_the_plain_loop"] == 2 ** len(tried)
    assert choose(module, loss, data) == strategy
    assert tried == [strategy]
    fewer = tuple(part[:-1] for part in data)
    choose(module, loss, fewer)
    assert len(tried) > 2
    assert len(remembered()) == 2


@pytest.mark.parametrize("fault", ["damaged", "of another version", "with other numbers"])
def test_a_choice_that_cannot_be_used_is_measured_again(tried, monkeypatch, tmp_path, fault):
    monkeypatch.setattr(trial, "compared", lambda *_, **__: Compared(0.5, True))
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    directions, points = plane(objective, 30)
    strategy = trial.choose(objective, points, objective.theta, directions)
    (path,) = (tmp_path / "strategies").iterdir()
    if fault == "with other numbers":
        monkeypatch.setattr(trial, "_close", lambda *_: len(tried) > 1)
    else:
        path.write_text('{"strategy": {"speed": 3}}' if fault == "of another version" else "{")
    tried.clear()
    again = Objective(module, loss, data)
    assert trial.choose(again, points, again.theta, directions) == strategy
    assert len(tried) > 2


def test_a_comparison_goes_on_until_the_difference_is_known_or_too_small_to_matter(monkeypatch):
    clock = {"one": iter(()), "other": iter(())}
    monkeypatch.setattr(measured, "_timed", lambda call: next(clock[call]))

    def compare(one, other, seconds=60.0):
        clock.update(one=iter(one), other=iter(other))
        return compared("one", "other", units=(1, 1), matters=0.03, seconds=seconds)

    noise = [1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 1.0, 0.7] * 40
    assert compare([2.0, 2.02, 1.98, 2.01], [1.0] * 4) == (pytest.approx(2, rel=0.02), True)
    assert compare([1.001, 1.0, 0.999, 1.002], [1.0] * 4) == (pytest.approx(1, rel=0.01), True)
    found = compare([1.2 * one for one in noise], [1.0] * len(noise))
    assert found.known
    assert found.ratio == pytest.approx(1.2, rel=0.1)
    assert len(list(clock["one"])) < len(noise) - measured.LEAST_PAIRS
    wild = compare([0.2, 5.0] * 40, [1.0] * 80, seconds=0.0)
    assert not wild.known


def test_a_candidate_that_gives_other_numbers_is_dropped(monkeypatch):
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    directions, points = plane(objective, 1)
    reference = {"loss": torch.tensor([123.0], dtype=torch.float64)}
    assert trial._prepared(objective, Strategy(trace=True), (objective.theta, directions), points, reference) is None


def test_a_metric_outside_torch_is_refused_by_the_recording_and_works_in_the_loop():
    module, loss, data = CASES[0].make()

    def numpy_metric(outputs, targets):
        return torch.from_numpy(outputs.detach().numpy().max(1))

    objective = Objective(module, loss, data, metrics={"largest": numpy_metric})
    thetas = torch.stack([objective.theta, 2 * objective.theta])
    values = objective.evaluate(thetas)["largest"]
    assert float(values[1]) != float(values[0])
    with pytest.raises(ValueError, match=r"cannot be traced .* use Strategy\(trace=False\)"):
        objective.evaluate(thetas, strategy=Strategy(trace=True))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="of at least 1"):
        Strategy(points=0)
    with pytest.raises(ValueError, match="expected trace=True"):
        Strategy(workers=2)
    with pytest.raises(ValueError, match="expected points=1"):
        Strategy(points=2, trace=True)
    module, loss, data = CASES[IDS.index("batch_norm")].make()
    objective = Objective(module, loss, data)
    with pytest.raises(ValueError, match=r"expected Strategy\(examples=None\)"):
        evaluator(objective.with_batch_norm("batch"), Strategy(examples=3))
    with pytest.raises(ValueError, match=r"expected Strategy\(\)"):
        evaluator(objective.with_batch_norm("recalibrate"), Strategy(trace=True))
    with pytest.raises(ValueError, match="one of frozen, recalibrate, batch; got 'train'"):
        objective.with_batch_norm("train")
    with pytest.raises(ValueError, match="'1' has no running statistics"):
        objective.with_batch_norm("batch").with_batch_norm("recalibrate")


def test_what_the_points_share_must_fit_the_memory(monkeypatch):
    monkeypatch.setattr("kdlandscape.landscape.measured.MEMORY", 10)
    module, loss, data = CASES[0].make()
    objective = Objective(module, loss, data)
    directions, points = plane(objective)
    with pytest.raises(ValueError, match=r"expected at most 0 MiB; use Strategy\(affine=False\)"):
        evaluator(objective, Strategy(trace=True, affine=True), objective.theta, directions)(points)


def test_calibration_error_is_pooled_over_the_data_set_whatever_the_batch_size():
    module, loss, data = CASES[0].make()
    confidence, predicted = module(data[0]).softmax(-1).max(-1)
    gaps, edges = (predicted == data[1]).double() - confidence, torch.linspace(0, 1, 16, dtype=torch.float64)
    bins = [(edges[b] < confidence) & (confidence <= edges[b + 1]) for b in range(15)]
    expected = sum(gaps[inside].sum().abs() for inside in bins) / len(gaps)
    for batch_size in (None, 1, 7):
        objective = Objective(module, loss, data, metrics={"ece": calibration_error()}, batch_size=batch_size)
        torch.testing.assert_close(objective.evaluate(objective.theta[None])["ece"][0], expected.detach(), **EXACT)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1)])
def test_few_classes_are_laid_out_first_for_the_log_softmax_and_the_layer_before_it(loss):
    """torch takes the log-softmax over fewer classes than a register holds one number at a time."""
    module, _, data = CASES[0].make()
    objective = Objective(module, loss, data)
    recorded = graph.trace(objective.terms, objective.theta, next(objective.batches.loaded()))
    leaves = graph.arguments(next(objective.batches.loaded()))
    before = recorded(objective.theta, *leaves)
    changed = graph.classes_first(recorded)
    dims = [n.args[1] for n in changed.graph.nodes if n.target is torch.ops.aten._log_softmax.default]
    assert dims == [0]
    for a, b in zip(changed(objective.theta, *leaves), before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=0)
