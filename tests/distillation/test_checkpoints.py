"""Checkpoints as trainers write them: what is found in them, and what is refused before anything is computed."""

import argparse
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import kdlandscape as kdl
from kdlandscape.distillation import CheckpointError, load_networks
from kdlandscape.distillation.weight_files import digest_of, read_weights
from kdlandscape.distillation.weight_sets import choose_weights, state_of

pytest.importorskip("safetensors")


def make(seed=0, width=3):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(9 * width, 2))
    with torch.no_grad():
        net.train()(torch.randn(8, 1, 5, 5))
    return net.eval()


class Lightning(nn.Module):
    """A module of Lightning: the network, an average of it, and a metric with a weight of its own."""

    def __init__(self):
        super().__init__()
        self.net, self.average, self.metric = make(1), AveragedModel(make(2)), nn.Linear(2, 2)


def prefixed(prefix, net):
    return OrderedDict((prefix + name, x) for name, x in net.state_dict().items())


COMPILED_INSIDE = {name.replace("4.", "4._orig_mod."): x for name, x in make(1).state_dict().items()}
TREES = {
    "a state dict": (make(1).state_dict(), None),
    "a wrapper": (prefixed("module.", make(1)), None),
    "a compiled module": (prefixed("_orig_mod.", make(1)), None),
    "a wrapper of a compiled module": (prefixed("module._orig_mod.", make(1)), None),
    "a compiled layer": (COMPILED_INSIDE, None),
    "an average": (AveragedModel(make(1)).state_dict(), None),
    "a trainer": (
        {"epoch": 3, "model": make(1).state_dict(), "optimizer": {"state": {0: {"m": torch.zeros(3)}}}},
        None,
    ),
    "deeper": ({"a": {"b": {"state_dict": prefixed("backbone.net.", make(1))}}}, None),
    "Lightning": ({"state_dict": Lightning().state_dict(), "callbacks": {}}, "net"),
    "timm": ({"state_dict": make(1).state_dict(), "state_dict_ema": make(2).state_dict()}, "state_dict"),
    "the same weights twice": ({"last": make(1).state_dict(), "best": make(1).state_dict()}, None),
    "half precision": ({k: x.bfloat16().float() for k, x in make(1).state_dict().items()}, None),
}


@pytest.mark.parametrize("name", TREES)
def test_the_weights_of_a_network_are_found_in_the_checkpoint_of(name):
    tree, choice = TREES[name]
    chosen, _ = choose_weights(tree, make(), choice)
    net = make()
    net.load_state_dict(state_of(chosen, net))
    x = torch.randn(4, 1, 5, 5)
    tolerance = 0.1 if name == "half precision" else 0.0
    torch.testing.assert_close(net(x), make(1)(x), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("choice", "seed"), [("average", 2), ("net", 1)])
def test_an_average_is_chosen_by_a_part_of_its_name(choice, seed):
    chosen, found = choose_weights({"state_dict": Lightning().state_dict()}, make(), choice)
    assert found == ["state_dict/net", "state_dict/average.module"]
    torch.testing.assert_close(state_of(chosen, make())["4.weight"], make(seed)[4].weight.detach(), rtol=0, atol=0)


def test_several_sets_of_weights_are_never_chosen_from_in_silence():
    with pytest.raises(CheckpointError, match=r"got 2 that differ \(state_dict/net, state_dict/average.module\)"):
        choose_weights({"state_dict": Lightning().state_dict()}, make())
    with pytest.raises(CheckpointError, match=r"expected one of the sets of weights state_dict/net.*got 'swa'"):
        choose_weights({"state_dict": Lightning().state_dict()}, make(), "swa")


def test_tied_weights_may_stand_under_either_name():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.table(x))

    for name in ("table.weight", "head.weight"):
        chosen, _ = choose_weights({name: torch.ones(3, 2)}, Tied())
        assert state_of(chosen, Tied())["table.weight"].sum() == 6


WRONG = {
    "of other shapes": (make(1, width=4).state_dict(), r"'0.weight' differs: expected shape \(3, 1, 3, 3\), got \(4"),
    "of a deeper network": ({**make(1).state_dict(), "5.weight": torch.zeros(2)}, "'5.weight' is unknown here"),
    "of another kind": ({"blocks.attn": torch.zeros(2)}, "expected '0.weight' and 5 more parameters, got blocks.attn"),
    "without tensors": ({"epoch": 3}, "got no tensors by name"),
    "without a parameter": (
        {k: x for k, x in make(1).state_dict().items() if k != "4.bias"},
        "'4.bias' of shape .* missing",
    ),
    "without running statistics": (
        {k: x for k, x in make(1).state_dict().items() if "running" not in k},
        "expected '1.running_mean', got none.*update_bn",
    ),
    "with NaN": ({**make(1).state_dict(), "4.bias": torch.tensor([0.0, torch.nan])}, "got NaN or infinity in '4.bias'"),
    "of whole numbers": ({**make(1).state_dict(), "4.bias": torch.zeros(2).int()}, "expected floating point"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_checkpoint_is_refused_by_its_first_difference(name):
    tree, message = WRONG[name]
    with pytest.raises(CheckpointError, match=message):
        state_of(choose_weights(tree, make())[0], make())


class Code:
    """What a pickle may run."""

    def __reduce__(self):
        return print, ("this code ran",)


def test_what_trainers_file_beside_the_weights_is_read_and_code_is_not(tmp_path, capsys):
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.9), "state_dict": make().state_dict()}
    torch.save(beside, tmp_path / "fine.pt")
    assert choose_weights(read_weights(tmp_path / "fine.pt"), make())[0].name == "state_dict"
    for name, thing in {"whole.pt": make(), "code.ckpt": {"x": Code()}}.items():
        torch.save(thing, tmp_path / name)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code()))
    for name in ("whole.pt", "code.ckpt", "plain.pth"):
        with pytest.raises(
            CheckpointError, match=rf"{name} is a pickle with code: expected tensors alone, got .*\."
        ) as e:
            read_weights(tmp_path / name)
        assert "torch.save(model.state_dict(), path)" in str(e.value)
    assert "this code ran" not in capsys.readouterr().out


def test_damaged_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(make().state_dict(), tmp_path / "a.safetensors")
    torch.save(make().state_dict(), tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        content = (tmp_path / name).read_bytes()
        for cut in (len(content) - 3, len(content) // 2, 9):
            (tmp_path / name).write_bytes(content[:cut])
            with pytest.raises(CheckpointError, match=f"{name} is (damaged|a pickle)"):
                read_weights(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(CheckpointError, match="is empty"):
            read_weights(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"got nothing there. Did you mean 'a.pt'"):
        read_weights(tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"expected a folder with model.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "part-1.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"expected the part part-1.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="pointer of git-lfs"):
        read_weights(tmp_path / "lfs.pt")


@pytest.fixture(scope="module")
def problem():
    x = torch.randn(20, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 2
    return kdl.Problem(network=make, train=(x, y), test=(x[:10], y[:10])).checked()


def test_everything_that_is_wrong_is_said_in_one_message(problem, tmp_path):
    torch.save(make(1).state_dict(), tmp_path / "good.pt")
    torch.save(make(1).state_dict(), tmp_path / "copy.pt")
    torch.save(make(1, width=4).state_dict(), tmp_path / "wide.pt")
    torch.save(make(), tmp_path / "code.pt")
    every = [str(tmp_path / name) for name in ("good.pt", "copy.pt", "wide.pt", "code.pt", "absent.pt")]
    with pytest.raises(CheckpointError) as raised:
        load_networks(problem, every)
    lines = str(raised.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["wide", "code", "absent", "copy"]
    assert "holds the same weights as good" in lines[-1]


def test_fewer_than_two_checkpoints_and_one_twice_are_refused(problem, tmp_path):
    torch.save(make(1).state_dict(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="expected two or more checkpoints to compare, got 1"):
        load_networks(problem, [str(tmp_path / "a.pt")])
    with pytest.raises(CheckpointError, match="got the same checkpoint twice"):
        load_networks(problem, [str(tmp_path / "a.pt")] * 2)
    with pytest.raises(CheckpointError, match="two networks of one name, x"):
        load_networks(problem, ["x=a.pt", "x=b.pt"])


def test_networks_are_named_by_what_tells_their_files_apart(problem, tmp_path):
    for seed, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        torch.save({"raw": make(seed).state_dict(), "ema": make(seed + 5).state_dict()}, tmp_path / name / "last.pt")
    places = [f"{tmp_path}/one/last.pt#raw", f"{tmp_path}/two/last.pt#raw", f"mean={tmp_path}/two/last.pt#ema"]
    loaded = load_networks(problem, places)
    assert [one.name for one in loaded] == ["one/last#raw", "two/last#raw", "mean"]
    assert [one.weights for one in loaded] == ["raw", "raw", "ema"]
    assert loaded[0].found == ("raw", "ema")


def test_a_checkpoint_that_has_changed_since_is_not_mixed_in_silence(problem, tmp_path):
    for seed, name in enumerate(("a.pt", "b.pt")):
        torch.save(make(seed).state_dict(), tmp_path / name)
    places = [tmp_path / "a.pt", tmp_path / "b.pt"]
    digests = [digest_of(place) for place in places]
    assert load_networks(problem, list(map(str, places)), digests=digests)[0].digest == digests[0]
    torch.save(make(7).state_dict(), tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"b \(.*b.pt\): its content has changed since"):
        load_networks(problem, list(map(str, places)), digests=digests)


def test_an_architecture_of_its_own_is_given_by_name(problem, tmp_path):
    torch.save(make(1).state_dict(), tmp_path / "a.pt")
    torch.save(make(1, width=4).state_dict(), tmp_path / "wide.pt")
    lines = ["from torch import nn", "", "", "def wide():"]
    net = "nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))"
    (tmp_path / "nets.py").write_text(
        "\n".join([*lines, f"    return {net}", "", "", "def text():", "    return ''", ""])
    )
    places = [str(tmp_path / "a.pt"), str(tmp_path / "wide.pt")]
    loaded = load_networks(problem, places, networks=[f"wide={tmp_path}/nets.py:wide"])
    assert "first in 0.weight: (3, 1, 3, 3) in a, (4, 1, 3, 3) in wide" in loaded[0].difference(loaded[1])
    with pytest.raises(CheckpointError, match=r"expected it to return .* or a torch module, got str"):
        load_networks(problem, places, networks=[f"wide={tmp_path}/nets.py:text"])
    with pytest.raises(CheckpointError, match=r"with a name of a, wide, got 'wid=x:y'. Did you mean 'wide'"):
        load_networks(problem, places, networks=["wid=x:y"])


def test_a_folder_of_transformers_gives_its_weights_or_where_they_do_not_fit_its_own_network(tmp_path):
    transformers = pytest.importorskip("transformers")

    def bert(layers=1, seed=0, kind=transformers.BertForSequenceClassification):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 2, "max_position_embeddings": 6}
        return kind(transformers.BertConfig(vocab_size=7, num_hidden_layers=layers, num_labels=2, **sizes))

    x = {"input_ids": torch.randint(7, (20, 6), generator=torch.Generator().manual_seed(0))}
    y = torch.arange(20) % 2
    problem = kdl.Problem(network=bert, train=(x, y), test=(x, y)).checked()
    transformers.logging.disable_progress_bar()
    bert(seed=1).save_pretrained(tmp_path / "same")
    bert(seed=2).save_pretrained(tmp_path / "parts", max_shard_size=500)
    bert(2, seed=3).half().save_pretrained(tmp_path / "deep")
    bert(kind=transformers.BertModel).save_pretrained(tmp_path / "headless")
    assert (tmp_path / "parts" / "model.safetensors.index.json").is_file()
    names = ("same", "parts", "deep")
    same, parts, deep = load_networks(problem, [str(tmp_path / name) for name in names])
    assert "bert.encoder.layer.1" in same.difference(deep)
    assert not same.difference(parts)
    for loaded, net in ((same, bert(seed=1)), (parts, bert(seed=2)), (deep, bert(2, seed=3).half().float())):
        found = kdl.distillation.logits(loaded.model, loaded.state, x)[0]
        torch.testing.assert_close(found, net.eval()(**x).logits.detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"headless \(.*\): its network gives|headless .*: "):
        load_networks(problem, [str(tmp_path / "same"), str(tmp_path / "headless")])
    config = tmp_path / "deep" / "config.json"
    config.write_text(config.read_text().replace("BertForSequenceClassification", "TheirOwnClass"))
    with pytest.raises(CheckpointError, match=r"expected a class of transformers .*got 'TheirOwnClass', and code of"):
        load_networks(problem, [str(tmp_path / "same"), str(tmp_path / "deep")])
