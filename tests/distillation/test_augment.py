import pytest
import torch

from kdlandscape.distillation import augment, data


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def signals(n=50, d=20):
    return torch.randn(n, d, generator=seeded(9), dtype=torch.float64)


def images(n=12, channels=3, side=10):
    return torch.rand(n, channels, side, side, generator=seeded(9)) * 2 - 1


@pytest.mark.parametrize("name", augment.VIEWS)
def test_views_keep_shape_and_type_and_follow_their_generator(name):
    if name in ("rotation", "color"):
        pytest.importorskip("kornia")
    inputs = signals() if name in ("shift", "noise", "jitter") else images()
    view = augment.named_views(name, inputs.shape[1:])
    first, again, other = (view(inputs, seeded(seed)) for seed in (1, 1, 2))
    assert first.shape == inputs.shape
    assert first.dtype == inputs.dtype
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mixup_mixes_each_input_with_another_by_one_weight_a_batch():
    inputs = torch.eye(30, dtype=torch.float64)
    mixed = augment.mixup(inputs, seeded())
    share = mixed.diagonal()[mixed.diagonal() < 1][0]
    moved = mixed[mixed.diagonal() < 1]
    torch.testing.assert_close(moved.sum(1), torch.ones(len(moved), dtype=torch.float64))
    assert ((moved - share).abs().min(1).values < 1e-12).all()
    assert ((moved - (1 - share)).abs().min(1).values < 1e-12).all()
    shares = torch.stack([augment.mixup(inputs, seeded(seed)).diagonal().min() for seed in range(200)])
    assert abs(float(shares.mean()) - 0.5) < 0.07


def test_a_shift_rotates_each_signal_by_a_few_places():
    inputs = signals()
    shifted = augment.shift(inputs, seeded(), largest=2)
    for before, after in zip(inputs, shifted, strict=True):
        assert any(torch.equal(before.roll(steps), after) for steps in range(-2, 3))


def test_a_digit_is_shifted_and_flipped_as_an_image_though_its_pixels_are_in_one_row():
    d = data.load("digits", num_train=40)
    assert d.shape == (1, 8, 8)
    pictures = d.train_inputs.view(-1, 8, 8)
    shifted = augment.named_views("shift", d.shape)(d.train_inputs, seeded())
    assert shifted.shape == d.train_inputs.shape
    padded = torch.nn.functional.pad(d.train_inputs.view(-1, 1, 8, 8), [1] * 4, mode="replicate")[:, 0]
    moves = set()
    for whole, part in zip(padded, shifted.view(-1, 8, 8), strict=True):
        fits = [(i, j) for i in range(3) for j in range(3) if torch.equal(whole[i : i + 8, j : j + 8], part)]
        assert fits
        moves.update(fits[:1])
    assert len(moves) > 4
    flipped = augment.named_views("flip", d.shape)(d.train_inputs, seeded()).view(-1, 8, 8)
    same, mirrored = ((flipped == z).all((1, 2)) for z in (pictures, pictures.flip(2)))
    assert (same | mirrored).all()
    assert 10 < int(same.sum()) < 30
    for name in ("crop", "rotation"):
        assert augment.named_views(name, d.shape)(d.train_inputs, seeded()).shape == d.train_inputs.shape


def test_signals_are_those_of_the_published_set_and_images_keep_their_channels():
    assert data.load("mnist1d", num_train=10).shape == (40,)
    inputs = images(side=16)
    shifted = augment.shift(inputs, seeded(), largest=3)
    rolled = [inputs.roll((i, j), (2, 3))[..., 3:-3, 3:-3] for i in range(-3, 4) for j in range(-3, 4)]
    inner = shifted[..., 3:-3, 3:-3]
    assert all(any(torch.equal(one[k], inner[k]) for one in rolled) for k in range(len(inputs)))


def test_a_crop_is_a_window_of_the_padded_image():
    inputs = images(side=6)
    cropped = augment.crop(inputs, seeded(), padding=1)
    padded = torch.nn.functional.pad(inputs, [1] * 4)
    for whole, part in zip(padded, cropped, strict=True):
        assert any(torch.equal(whole[:, i : i + 6, j : j + 6], part) for i in range(3) for j in range(3))


def test_a_flip_reverses_some_inputs_and_keeps_the_others():
    inputs = signals()
    flipped = augment.flip(inputs, seeded())
    same, turned = (flipped == inputs).all(1), (flipped == inputs.flip(1)).all(1)
    assert (same ^ turned).all()
    assert 10 < int(same.sum()) < 40


def test_one_pass_views_every_input_once_batch_by_batch():
    inputs = torch.ones(10, 3, dtype=torch.float64)
    seen = augment.one_pass(inputs, lambda x, g: x * torch.rand((), generator=g), seeded(), batch_size=4)
    _, counts = seen[:, 0].unique(return_counts=True)
    assert sorted(counts.tolist()) == [2, 4, 4]
    assert augment.one_pass(inputs, None, seeded()) is inputs


def test_names_are_joined_by_plus_and_unknown_ones_are_refused():
    both = augment.named_views("shift+jitter", (20,))
    generator = seeded()
    expected = augment.jitter(augment.shift(signals(), generator), generator)
    assert torch.equal(both(signals(), seeded()), expected)
    assert augment.named_views("none", (20,)) is None
    with pytest.raises(ValueError, match=r"an augmentation of none, mixup, .*; got 'spin'"):
        augment.named_views("shift+spin", (20,))


def test_views_of_images_refuse_signals_and_inputs_of_another_shape():
    with pytest.raises(ValueError, match=r"images \(c, h, w\) to be augmented by crop, got examples of shape \(40,\)"):
        augment.named_views("jitter+crop", (40,))
    with pytest.raises(ValueError, match=r"signals \(d,\) or images .* augmented by shift, got"):
        augment.named_views("shift", (5, 6))
    assert augment.named_views("jitter+mixup", (5, 6)).mixes
    with pytest.raises(ValueError, match=r"inputs of examples \(1, 8, 8\), got shape \(50, 20\)"):
        augment.named_views("shift", (1, 8, 8))(signals(), seeded())
