"""A study at a glance as panels: networks around the teacher, edges by barrier or agreement, and a plane."""

import math
from collections.abc import Mapping

import numpy as np

from kdlandscape.widgets import panels
from kdlandscape.widgets.panels import Panel
from kdlandscape.widgets.state import State
from kdlandscape.widgets.study_networks import Networks, Relation

SYMBOLS = {"teacher": "star", "student": "circle", "control": "diamond"}
#: The network next to the teacher is drawn at this share of the radius, so that names stay apart.
NEAREST = 0.34
NONE = (
    "expected networks with a barrier or an agreement between them, got a cube without; studies with a dim partner or "
    "init_lambda hold them, and kdl.barrier_matrix computes the barriers between any networks"
)


def graphs(seen: Networks, state: State) -> list[Panel]:
    """Return a graph for each relation, with the chosen networks marked."""
    chosen = trio(seen, state)
    scales: dict[str, tuple[float, float]] = {}
    for relation in seen.relations:  # graphs of one quantity share their scale
        known = list(relation.values.values())
        low, high = scales.get(relation.label, (min(known), max(known)))
        scales[relation.label] = min(low, *known), max(high, *known)
    return [_graph(seen, relation, scales[relation.label], chosen) for relation in seen.relations]


def trio(seen: Networks, state: State) -> list[str]:
    """Return the names of the three chosen networks: the teacher and the last two that were clicked."""
    names = [one.name for one in seen.networks]
    here = [one.name for one in seen.networks if one.here]
    teacher = next(one.name for one in seen.networks if one.role == "teacher")
    rest = [name for name in (*reversed(state.trio), *here) if name in names and name != teacher]
    others = [one.name for one in seen.networks if one.role != "teacher"]
    return [teacher, *list(dict.fromkeys([*rest, *others[::-1]]))[:2]]


def _graph(seen: Networks, relation: Relation, scale: tuple[float, float], chosen: list[str]) -> Panel:
    low, high = panels.widen(scale, log=False)
    near, far = (high, low) if relation.closer_is_more else (low, high)
    share = {pair: (value - near) / (far - near) for pair, value in relation.values.items()}
    star = len({i for i, _ in share}) == 1
    places = _around(len(seen.networks), share) if star else _ring(len(seen.networks))
    kept = sorted({i for pair in share for i in pair})
    nearer = "more" if relation.closer_is_more else "less"
    said = f"rings: {relation.label}, the nearer the {nearer}" if star else f"edges: {relation.label}"
    return {
        "kind": "graph",
        "title": relation.title,
        "label": relation.label,
        "nodes": [_node(seen, i, places[i], chosen, relation if star else None) for i in kept],
        "edges": [
            {"from": kept.index(i), "to": kept.index(j), "value": value, "text": f"{value:.3g}"}
            for (i, j), value in relation.values.items()
        ],
        "rings": [{"r": _radius(k), "text": f"{near + k * (far - near):.3g}"} for k in (0, 0.5, 1)] if star else [],
        "limits": [low, high],
        "log": False,
        "map": "viridis",
        "colors": panels.color_bytes("viridis"),
        "dim": seen.dim,
        "pick": "network",
        "readout": f"{said}; click a network, or use the arrow keys, to choose it",
    }


def _node(seen: Networks, i: int, place: tuple[float, float], chosen: list[str], relation: Relation | None) -> Panel:
    """Return a node: where it is drawn, where a click on it goes, and its name with the value of its only edge."""
    network = seen.networks[i]
    value = next((one for (_, j), one in relation.values.items() if j == i), None) if relation else None
    return {
        "name": network.name,
        "value": "" if value is None else f"{value:.3g}",
        "symbol": SYMBOLS[network.role],
        "x": place[0],
        "y": place[1],
        "place": network.place,
        "at": network.at,
        "here": network.here,
        "chosen": network.name in chosen,
    }


def _radius(share: float) -> float:
    return NEAREST + (1 - NEAREST) * share


def _around(count: int, share: Mapping[tuple[int, int], float]) -> dict[int, tuple[float, float]]:
    """Return places around the teacher: the nearer, the smaller the share; at angles that keep names apart."""
    teacher = next(i for i, _ in share)
    placed = {teacher: (0.0, 0.0)}
    for k, i in enumerate(one for one in range(count) if one != teacher):
        radius, angle = _radius(share.get((teacher, i), 1.0)), math.pi / 2 - 2 * math.pi * (k + 0.5) / (count - 1)
        placed[i] = (radius * math.cos(angle), radius * math.sin(angle))
    return placed


def _ring(count: int) -> dict[int, tuple[float, float]]:
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    return {i: (float(np.cos(a)), float(np.sin(a))) for i, a in enumerate(angles)}


def no_plane(seen: Networks, state: State) -> Panel:
    """Return the panel that says how the plane through the three chosen networks is made."""
    a, b, c = trio(seen, state) if len(seen.networks) > 2 else (*trio(seen, state), "a third network")
    text = (
        f"This cube holds no plane through {a}, {b} and {c}. With their weights at hand, "
        "kdl.explore_plane(objective, kdl.plane_through(first, second, third)) computes and explores it."
    )
    return panels.message_panel(f"the plane through {a}, {b} and {c}", text)


def nothing() -> list[Panel]:
    """Return the panel of a cube without networks."""
    return [panels.message_panel("a study at a glance", NONE)]
