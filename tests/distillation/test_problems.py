import pytest
import torch

from kdlandscape.distillation import data, networks, problem


def test_a_problem_is_data_and_a_network_that_fits_them():
    made = problem("digits", "cnn", num_train=50, label_noise=0.2, seed=3, width=4)
    expected = data.load("digits", num_train=50, label_noise=0.2, seed=3)
    assert torch.equal(made.data.train_targets, expected.train_targets)
    assert made.network(made.data.test_inputs).shape == (360, 10)
    assert str(made.network) == str(networks.cnn(64, 10, width=4, dims=2))


def test_the_weights_of_students_start_between_random_ones_and_the_teachers():
    random, teacher = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    starts = networks.mixed_starts(random, teacher, [0.0, 0.25, 1.0])
    torch.testing.assert_close(starts[1], 0.25 * teacher + 0.75 * random)
    assert torch.equal(starts[0], random)
    assert torch.equal(starts[2], teacher)


def test_a_misspelt_network_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"a network of mlp, .*; got 'cnm'\. Did you mean 'cnn'"):
        problem("digits", "cnm")
