"""A study at a glance: which networks it shows, how far they are, and where a click on one leads."""

import numpy as np
import pytest
import xarray as xr

import kdlandscape as kdl
from kdlandscape.widgets import picture
from kdlandscape.widgets.panels import data_of
from tests.synthetic import basins_cube, compared_cube, demo_cube
from tests.widgets.cubes import other_cube, study_cube


def panels(explorer):
    return explorer.shown().panels


def values(panel):
    """Return the value of each edge by the name of the network at its end."""
    return {panel["nodes"][edge["to"]]["name"]: edge["value"] for edge in panel["edges"]}


def radius(panel, name):
    (node,) = [one for one in panel["nodes"] if one["name"] == name]
    return np.hypot(node["x"], node["y"])


def click(explorer, panel, name):
    (node,) = [one for one in panels(explorer)[panel]["nodes"] if one["name"] == name]
    explorer.board.picked = {
        "kind": "network",
        "name": name,
        "dim": panels(explorer)[panel]["dim"],
        "x": node["at"],
        "panel": panel,
    }


def test_partners_lie_around_the_teacher_before_and_after_alignment():
    cube = basins_cube()
    explorer = kdl.explore(cube, view="glance")
    before, weights, activations, message = panels(explorer)
    words = "linear barrier of the KL(teacher ‖ network)"
    assert [one["title"] for one in (before, weights, activations)] == [
        f"{words}, alignment: {kind}" for kind in ("none", "weights", "activations")
    ]
    assert values(before) == pytest.approx({"λ = 0": 1, "λ = 0.5": 0, "independent": 2})
    expected = cube["barrier"].sel(seed=0, network="mlp", alignment="weights", correction="none")
    assert values(weights) == pytest.approx(dict(zip(cube["partner"].values, expected.values, strict=True)))
    assert [node["symbol"] for node in before["nodes"]] == ["star", "circle", "circle", "diamond"]
    assert radius(before, "independent") > radius(before, "λ = 0") > radius(before, "λ = 0.5")
    assert radius(weights, "λ = 0") < radius(before, "λ = 0")
    assert before["limits"] == weights["limits"] == activations["limits"]
    assert "kdl.explore_plane(objective, kdl.plane_through(" in message["text"]


def test_a_click_on_a_network_goes_to_its_cell_and_chooses_it():
    explorer = kdl.explore(basins_cube(), view="glance")
    click(explorer, 0, "λ = 0.5")
    assert explorer.sliders["at", "partner"].value == 1
    click(explorer, 0, "independent")
    assert panels(explorer)[-1]["title"] == "the plane through teacher, independent and λ = 0.5"
    chosen = [node["name"] for node in panels(explorer)[0]["nodes"] if node["chosen"]]
    assert chosen == ["teacher", "λ = 0.5", "independent"]
    click(explorer, 0, "teacher")
    assert explorer.sliders["at", "partner"].value == 2
    again = eval(explorer.explore_code(), {"kdl": kdl, "cube": explorer.cube})
    assert again.shown().panels == panels(explorer)


def test_students_at_each_share_stand_beside_the_independent_student_and_their_plane():
    cube = demo_cube()
    explorer = kdl.explore(cube, view="glance")
    barrier, agreement, plane = panels(explorer)
    assert values(barrier) == pytest.approx({"λ = 0": 3, "λ = 0.25": 1, "λ = 0.5": 0.001, "λ = 1": 0})
    assert values(agreement)["independent student"] == pytest.approx(0.6)
    assert radius(agreement, "λ = 1") < radius(agreement, "λ = 0")
    click(explorer, 0, "λ = 0.5")
    plane = panels(explorer)[-1]
    assert plane["title"].endswith("λ = 0.5")
    assert [mark["name"] for mark in plane["marks"]] == ["teacher", "init", "student"]
    explorer.board.picked = {"kind": "open", "panel": 2}
    assert (explorer.state.view, explorer.state.variable) == ("explore", "plane_loss")
    assert panels(explorer)[0]["title"].endswith("λ = 0.5")


def test_the_barriers_between_all_pairs_are_edges():
    names = ["teacher", "first", "second"]
    table = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])
    barrier = (("first", "second"), table, {"long_name": "barrier of the loss", "units": "nat"})
    cube = xr.Dataset({"barrier": barrier}, {"first": names, "second": names})
    graph = panels(kdl.explore(cube, view="glance"))[0]
    ends = {(graph["nodes"][e["from"]]["name"], graph["nodes"][e["to"]]["name"]): e["value"] for e in graph["edges"]}
    assert ends == {("teacher", "first"): 1, ("teacher", "second"): 2, ("first", "second"): 3}
    assert [node["symbol"] for node in graph["nodes"]] == ["star", "circle", "circle"]
    table = data_of(graph)
    assert table["second"].values.tolist() == ["first", "second", "second"]
    assert picture.png([graph], dpi=20).startswith(b"\x89PNG")


@pytest.mark.parametrize("cube", [other_cube(), xr.Dataset({"loss": ("seed", [1.0, 2.0])})])
def test_a_cube_without_networks_says_what_it_needs(cube):
    (message,) = panels(kdl.explore(cube, view="glance"))
    assert message["text"].startswith("expected networks with a barrier or an agreement between them")


def test_a_run_that_is_missing_has_no_edges_and_no_blank():
    explorer = kdl.explore(study_cube(num_lambda=3, num=5), view="glance", at={"seed": 2, "lr_policy": "scaled"})
    assert all(panel["kind"] == "message" for panel in panels(explorer))


def test_the_plane_through_the_chosen_three_is_computed_where_the_networks_are_at_hand():
    asked = []

    def live(names, cell):
        asked.append((names, cell))
        if len(asked) > 1:
            raise ValueError("no <b>weights</b>")
        return kdl.explore(other_cube())

    explorer = kdl.explore(basins_cube(), view="glance", live=live)
    click(explorer, 0, "independent")
    explorer.opener.button.click()
    assert asked[0][0] == ["teacher", "independent", "λ = 0.5"]
    assert asked[0][1]["partner"] == "independent"
    (shown,) = explorer.opener.opened.children
    assert shown.state.variable == "growth"
    explorer.opener.button.click()
    assert "ValueError: no &lt;b&gt;weights" in explorer.opener.said.value
    explorer.state.view = "explore"
    assert explorer.opener.layout.display == "none"


def test_pairs_of_networks_are_edges_between_them_and_their_plane_stands_beside():
    explorer = kdl.explore(compared_cube(), view="glance")
    as_it_is, permuted, rescaled, agree, plane = panels(explorer)
    assert [values(one) for one in (as_it_is, permuted, rescaled)] == [{"student": v} for v in (1.0, 0.2, 0.1)]
    assert as_it_is["title"].endswith("the second network: as it is")
    named = [node["name"] for node in agree["nodes"]]
    assert named == ["teacher", "student", "deep", "independent"]
    edges = {(named[edge["from"]], named[edge["to"]]): edge["value"] for edge in agree["edges"]}
    assert edges.pop(("student", "independent")) == edges.pop(("teacher", "independent")) == 0.6
    assert edges == pytest.approx({("teacher", "student"): 0.8, ("teacher", "deep"): 0.5, ("student", "deep"): 0.4})
    assert [mark["name"] for mark in plane["marks"]] == ["teacher", "student", "student, permuted"]


def test_the_story_of_a_comparison_is_what_alignment_leaves_of_the_barrier():
    explorer = kdl.explore(compared_cube(), view="story")
    assert explorer.state.story == "alignment"
    assert (
        "linear barrier of the cross entropy (pair of networks: teacher | student) 1 nat" in explorer.shown().sentence
    )
