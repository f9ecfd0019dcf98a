import json

import numpy as np
import pytest
import torch

from kdlandscape.cubes import provenance
from kdlandscape.distillation import data

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write(folder, split, pixels, **columns):
    """Write images with the columns of CIFAR-100's parquet files."""
    from PIL import Image

    features = {"img": datasets.Image()} | {name: datasets.ClassLabel(5) for name in columns}
    rows = {"img": [Image.fromarray(one) for one in pixels]} | columns
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    table.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def pictures(n, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_parquet_files_of_the_hubs_schema_load_as_images_and_fine_labels(tmp_path):
    train, test = pictures(12), pictures(5, seed=1)
    write(tmp_path, "train", train, coarse_label=[0] * 12, fine_label=[i % 5 for i in range(12)])
    write(tmp_path, "test", test, coarse_label=[0] * 5, fine_label=[4, 3, 2, 1, 0])
    d = data.load(f"parquet:{tmp_path}", num_train=10)
    assert d.train_inputs.shape == (10, 3, 8, 8)
    assert (d.channels, d.num_classes) == (3, 5)
    expected = torch.from_numpy(train[:10]).movedim(-1, 1) / 127.5 - 1
    torch.testing.assert_close(d.train_inputs, expected)
    assert d.test_targets.tolist() == [4, 3, 2, 1, 0]


def test_missing_files_columns_and_mixed_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected train\*\.parquet in .*, got none"):
        data.load(f"parquet:{tmp_path}")
    write(tmp_path, "test", pictures(2), label=[0, 1])
    write(tmp_path, "train", pictures(2))
    with pytest.raises(ValueError, match=r"one column of images and one of class labels in .*, got img: Image"):
        data.load(f"parquet:{tmp_path}")
    write(tmp_path, "train", [*pictures(1), *pictures(1, side=6)], label=[0, 1])
    with pytest.raises(ValueError, match="images of one size"):
        data.load(f"parquet:{tmp_path}")


class TestRevisions:
    """A set of the hub changes; a study's data must not."""

    @pytest.fixture
    def hub(self, monkeypatch, tmp_path):
        """Stand in for the hub: its newest revision, and what was loaded."""
        monkeypatch.setenv("KDLANDSCAPE_CACHE", str(tmp_path / "kdl"))
        monkeypatch.setattr(provenance, "_data", {})
        state = {"newest": "aaa", "loaded": []}

        def load_dataset(name, revision):
            state["loaded"].append((name, revision))
            features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(5)})
            from PIL import Image

            rows = {"img": [Image.fromarray(one) for one in pictures(3)], "label": [0, 1, 2]}
            one = datasets.Dataset.from_dict(rows, features=features)
            return {"train": one, "test": one}

        def dataset_info(self, name):
            if state["newest"] is None:
                raise OSError("no network")
            return type("Info", (), {"sha": state["newest"]})

        monkeypatch.setattr("datasets.load_dataset", load_dataset)
        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
        return state

    def test_the_first_revision_that_was_used_stays_and_provenance_says_it(self, hub):
        data.load("hub:some/set")
        hub["newest"] = "bbb"
        data.load("hub:some/set")
        assert hub["loaded"] == [("some/set", "aaa")] * 2
        assert json.loads(provenance.collect()["data"]) == {"hub:some/set": "aaa"}

    def test_a_revision_can_be_named(self, hub):
        data.load("hub:some/set@v2")
        assert hub["loaded"] == [("some/set", "v2")]
        assert json.loads(provenance.collect()["data"]) == {"hub:some/set": "v2"}

    def test_without_the_hub_a_revision_has_to_be_named(self, hub):
        hub["newest"] = None
        with pytest.raises(ValueError, match=r"which revision of some/set is the newest, got no network; name one"):
            data.load("hub:some/set")
        data.load("hub:some/set@v2")

    def test_local_files_are_known_by_their_content(self, hub, tmp_path, monkeypatch):
        found = []
        for seed in (0, 1, 0):
            write(tmp_path, "train", pictures(3, seed=seed), label=[0, 1, 2])
            write(tmp_path, "test", pictures(3), label=[0, 1, 2])
            with pytest.raises(TypeError):  # the stand-in knows no files
                data.load(f"parquet:{tmp_path}")
            found.append(provenance.collect()["data"])
        assert found[0] == found[2] != found[1]
