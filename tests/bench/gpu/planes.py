"""Planes in points a second, by how many points a launch takes."""

from collections.abc import Callable, Iterator
from typing import Any

from kdlandscape.landscape.evaluation.strategy import Strategy
from tests.bench.bench_slices import loss_landscapes, ours
from tests.bench.clock import fastest_threads, seconds
from tests.bench.goals import goal
from tests.bench.gpu.ledger import Part, Row, Rows, Setting, table
from tests.bench.peers import missing
from tests.bench.problems import Problem, p1, p2

CHUNKS = (1, 16, 64, 256, 1024)
CPU_LOOP = "a loop on the CPU"
AXIS = {"P1": 32, "P2": 16}  # points along each axis
CPU_AXIS = {"P1": 6, "P2": 2}


def measured(problem: Problem, who: str, setting: Setting) -> dict[str, Any]:
    """Evaluate a plane by one way; return the points a second."""
    n = 2 if setting.tiny else AXIS[problem.name]
    facts: dict[str, Any] = {}
    if who == "loss-landscapes":
        run = loss_landscapes(problem.to(setting.device))
    else:
        by_trial = who == "as the trial chooses"
        strategy = None if by_trial else Strategy(points=1 if who == CPU_LOOP else int(who.split()[0]))
        run, chosen, _ = ours(problem, strategy, "cpu" if who == CPU_LOOP else setting.device)
        facts = chosen.facts() if by_trial else {}
    if who == CPU_LOOP and not setting.tiny:
        n = CPU_AXIS[problem.name]
    run(2)

    def speed() -> float:
        return n**2 / seconds(lambda: run(n), least=0.0 if setting.tiny else 1.0)

    return {"points a second": fastest_threads(speed) if who == CPU_LOOP else speed(), "strategy": facts}


def rows(setting: Setting) -> Iterator[Row]:
    """Yield a row for each problem and way."""
    makes = {"P1": lambda: p1(2) if setting.tiny else p1(), "P2": lambda: p2(4) if setting.tiny else p2()}
    ways = [CPU_LOOP, *(f"{chunk} at once" for chunk in (CHUNKS[:2] if setting.tiny else CHUNKS))]
    ways += ["as the trial chooses"]
    if not missing(["loss_landscapes"]):
        ways.append("loss-landscapes")
    for which, make in makes.items():
        for who in ways:

            def measure(make: Callable[[], Problem] = make, who: str = who) -> dict[str, Any]:
                return measured(make(), who, setting)

            yield Row(f"{which}: {who}", measure, 15.0)


def lines(found: Rows) -> list[str]:
    """Return the table and what became of the goal."""
    speeds = {name: values["points a second"] for name, values in found.items()}

    def cells(name: str, values: dict[str, Any]) -> list[str]:
        slow = speeds.get(f"{name.split(':')[0]}: {CPU_LOOP}")
        ratio = f"{values['points a second'] / slow:.2f}" if slow else "–"
        return [f"{values['points a second']:.4g}", ratio, str(values["strategy"] or "")]

    text = table(["problem: way", "points a second", "× the loop on the CPU", "strategy"], found, cells)
    said = []
    for which in AXIS:
        mine = {n: v for n, v in speeds.items() if n.startswith(f"{which}:") and ("at once" in n or "trial" in n)}
        slow = speeds.get(f"{which}: {CPU_LOOP}")
        if mine and slow:
            best = max(mine, key=mine.__getitem__)
            what = f"a GPU, {which}: points ≥ 20× the loop on this machine's CPU"
            ratio = mine[best] / slow
            said.append(goal(what, f"{ratio:.1f}× with {best.split(': ')[1]}", ratio >= 20))
    return [*text, "", *said]


PART = Part("Planes", rows, lines, needs=("loss_landscapes",), about="Points of a plane in the problem's own data.")
