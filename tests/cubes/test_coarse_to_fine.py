import numpy as np
import pytest

from kdlandscape.cubes.coarse_to_fine import coarse_to_fine


@pytest.mark.parametrize("shape", [(2, 2), (9, 9), (10, 10), (33, 33), (40, 40), (5, 11, 3), (51,), (1, 1)])
def test_a_coarse_picture_comes_first_and_every_point_is_computed_once(shape):
    levels = coarse_to_fine(shape)
    assert sorted(np.concatenate(levels)) == list(range(np.prod(shape)))
    places = np.unravel_index(levels[0], shape)
    for size, along in zip(shape, places, strict=True):
        assert len(set(along)) <= 11
        assert {0, size // 2, size - 1} <= set(along)
    assert levels[0][0] == np.ravel_multi_index(tuple(size // 2 for size in shape), shape)
