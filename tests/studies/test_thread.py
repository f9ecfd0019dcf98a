"""The claims of the thread, decided from planted cubes by the rules of all claims."""

import numpy as np
import pytest

from kdlandscape.studies.claims import verdicts
from kdlandscape.studies.thread import CLAIMS, findings
from tests.studies.test_function_priors_kept import cube as functions
from tests.studies.test_generalization import cube as networks


def planted():
    found = networks()
    found["end_train_error"] = found["end_test_error"] * 0
    return found


def decided(**cubes):
    table = verdicts(CLAIMS, cubes)
    return dict(zip(table["claim"].values.tolist(), table["verdict"].values.tolist(), strict=True)), table


def test_what_is_planted_is_reproduced_or_contradicted():
    verdict, _ = decided(flatness=planted(), function_prior=functions())
    assert verdict["flat-path-norm"] == "contradicted"
    assert verdict["flat-pac-bayes"] == "undecided"
    for name in ("flat-dinh", "flat-fisher-rao", "descent-rise", "descent-fall", "prior-wide", "prior-student"):
        assert verdict[name] == "reproduced", name
    assert verdict["prior-kept"] == "reproduced"


def test_without_networks_that_reach_the_loss_or_fit_their_labels_nothing_is_testable():
    short = planted()
    short["reached"] = short["reached"] & (short["width"] == 8)
    short["end_train_error"] = short["end_train_error"] + 0.3
    verdict, table = decided(flatness=short)
    assert {name: one for name, one in verdict.items() if one != "not testable here"} == {}
    reason = dict(zip(table["claim"].values.tolist(), table["reason"].values.tolist(), strict=True))
    assert reason["flat-dinh"].startswith("it is not shown that networks reach the training loss")
    assert reason["descent-fall"].startswith("it is not shown that the widest networks fit their noisy labels")
    assert reason["prior-wide"] == "function_prior has not been run"


def test_the_findings_of_a_study_are_its_own_claims_and_another_study_is_refused():
    said = findings(functions().assign_attrs(study="function_prior"))
    assert said[0].startswith("3 claims: ")
    (place,) = (k for k, line in enumerate(said) if line.startswith("REPRODUCED Lee 2018: a finite ReLU network corr"))
    assert said[place + 1].startswith("  mean distance of both correlations, MLP: +0.0")
    assert sum(not line.startswith("  ") for line in said) == 3 + 1
    assert all(np.char.find(said, "flat") == -1)
    with pytest.raises(ValueError, match="got study 'demo'"):
        findings(functions().assign_attrs(study="demo"))
