import numpy as np
import pytest
import torch

from kdlandscape.cubes.seals import DamagedCache
from kdlandscape.distillation import data


def test_mnist1d_is_the_published_set_and_loads_the_same_again():
    d = data.load("mnist1d")
    assert d.train_inputs.shape == (4000, 40)
    assert d.test_inputs.shape == (1000, 40)
    assert d.num_classes == 10
    assert torch.equal(data.load("mnist1d").train_inputs, d.train_inputs)
    whole = torch.cat([d.train_inputs, d.test_inputs])
    assert abs(float(whole.mean())) < 1e-5
    assert float(whole.std()) == pytest.approx(1, abs=1e-3)


def test_fresh_examples_are_new_in_distribution_and_follow_their_seed():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    d = data.load("mnist1d", num_fresh=995, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert d.distill_inputs.shape == (995, 40)
    assert d.distill_targets.shape == (995,)
    nearest = torch.cdist(d.distill_inputs, torch.cat([d.train_inputs, d.test_inputs])).min()
    assert nearest > 0
    assert abs(float(d.distill_inputs.std()) - 1) < 0.02
    assert torch.equal(data.load("mnist1d", num_fresh=995, seed=1).distill_inputs, d.distill_inputs)
    assert not torch.equal(data.load("mnist1d", num_fresh=995, seed=2).distill_inputs, d.distill_inputs)


def test_label_noise_redraws_the_chosen_share_of_training_labels_only():
    clean, noisy = data.load("digits"), data.load("digits", label_noise=0.5, seed=3)
    changed = (clean.train_targets != noisy.train_targets).double().mean()
    assert float(changed) == pytest.approx(0.5 * 0.9, abs=0.05)
    assert torch.equal(clean.test_targets, noisy.test_targets)
    assert torch.equal(noisy.distill_targets, clean.train_targets)
    assert torch.equal(noisy.train_targets, data.load("digits", label_noise=0.5, seed=3).train_targets)


def test_digits_are_split_without_overlap():
    d = data.load("digits", num_train=100)
    assert d.train_inputs.shape == (100, 64)
    assert len(data.digits().train_inputs) + len(d.test_inputs) == 1797
    assert d.train_inputs.min() >= -1
    assert d.train_inputs.max() <= 1


def test_impossible_requests_are_refused():
    with pytest.raises(
        ValueError, match="a data set of mnist1d, digits, mnist5k, hub:<name> or parquet:<folder>; got 'mnist'"
    ):
        data.load("mnist")
    with pytest.raises(ValueError, match="num_train between 1 and 1437 for digits, got 5000"):
        data.load("digits", num_train=5000)
    with pytest.raises(ValueError, match=r"label_noise between 0 and 1, got 1\.5"):
        data.load("digits", label_noise=1.5)
    with pytest.raises(ValueError, match="fresh examples exist for mnist1d only"):
        data.load("digits", num_fresh=10)


def test_a_damaged_cache_of_data_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLANDSCAPE_CACHE", str(tmp_path))
    first = data.fresh_mnist1d(20, 3)
    (path,) = (tmp_path / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(DamagedCache, match=r"\.npz: expected a file with its own checksum .*; it is made again"):
        again = data.fresh_mnist1d(20, 3)
    assert all(map(torch.equal, first, again))


def test_fresh_test_examples_are_as_many_as_asked_and_the_same_for_every_seed():
    found = data.load("mnist1d", num_test=995, seed=1)
    assert len(found.test_inputs) == len(found.test_targets) == 995
    assert torch.equal(data.load("mnist1d", num_test=995, seed=2).test_inputs, found.test_inputs)
    assert not torch.isin(found.test_inputs[:, 0], data.load("mnist1d").test_inputs[:, 0]).any()
    with pytest.raises(ValueError, match="fresh examples exist for mnist1d only: set num_test to 0 for digits"):
        data.load("digits", num_test=10)
