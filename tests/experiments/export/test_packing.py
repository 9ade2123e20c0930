"""Packed arrays come back to the last bit."""

import numpy as np
import pytest

from experiments.export import packing

GENERATOR = np.random.default_rng(0)
COUNTED = GENERATOR.integers(0, 300, (7, 9000)).astype(np.float32) / 7
SPECIAL = np.where(COUNTED > 20, np.float32(-0.0), COUNTED)
SPECIAL[0, :3] = np.nan, np.inf, 0.0


@pytest.mark.parametrize(
    "array",
    [
        COUNTED,
        SPECIAL,
        GENERATOR.normal(size=(3, 70_000)),  # more values than are numbered
        np.arange(5, dtype=np.int8),
        np.zeros((0, 4)),
        np.float64(2.5),
        GENERATOR.integers(0, 2, (50, 5000)) > 0,
    ],
)
def test_an_array_comes_back_to_the_last_bit(tmp_path, array):
    packing.pack(tmp_path / "a.npz", array)
    found = packing.unpack(tmp_path / "a.npz")
    array = np.asarray(array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert packing.digest(found) == packing.digest(array)


def test_few_values_take_a_fraction_of_the_room(tmp_path):
    packing.pack(tmp_path / "a.npz", COUNTED)
    assert (tmp_path / "a.npz").stat().st_size < 0.4 * COUNTED.nbytes


def test_digests_tell_values_shapes_and_dtypes_apart():
    zeros = np.zeros((2, 3), np.float32)
    others = [zeros.T, zeros.astype(np.int32), zeros + 1, -zeros]
    assert len({packing.digest(one) for one in [zeros, *others]}) == 5
