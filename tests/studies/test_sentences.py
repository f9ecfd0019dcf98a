import numpy as np
import xarray as xr

from kdlandscape.studies import sentences


def test_an_unfinished_study_ends_its_sentences_with_what_is_missing(monkeypatch):
    done = np.ones((2, 3), bool)
    cube = xr.Dataset({"run.done": (("seed", "width"), done)}, {"seed": [0, 1], "width": [8, 16, 32]})
    monkeypatch.setattr(sentences, "load", lambda kind, name: lambda cube: [f"{name} is decided."])
    assert sentences.say(cube, ["one"]) == ["one is decided."]
    done[1, 2] = False
    assert sentences.say(cube, ["one"])[1:] == ["not finished: 1 run is missing (seed = 1, width = 32)."]
    done[:, 1:] = False
    last = sentences.say(cube, ["one"])[-1]
    assert (
        last
        == "not finished: 4 runs are missing (seed = 0, width = 16; seed = 0, width = 32; seed = 1, width = 16; …)."
    )
    assert sentences.say(cube, []) == []  # a study that asks nothing says nothing
