"""Clips by number: the batches' own promises are tested on images, which share them."""

import numpy as np
import pytest

from experiments.datasets.audio import (
    Audio,
    Split,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)


def numbered(number, _):
    return np.array([-(2**15), number, 2**15 - 1], np.int16)


def audio(num=10, num_held_out=7):
    splits = Split(num, numbered), Split(num_held_out, numbered)
    return Audio("numbers", "this test", 3, 8000, *splits)


def numbers_of(batch):
    return batch["audio"][:, 1].tolist()


def test_every_clip_comes_once_an_epoch_as_whole_numbers_of_16_bits():
    batch = training_batches(audio(), seed=3, batch_size=5)
    first, second = (numbers_of(batch(n)) + numbers_of(batch(n + 1)) for n in (0, 2))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    held = batch(7)["audio"]
    assert held.dtype == np.int32 and held.shape == (5, 3)
    assert (held[:, 0] == -32768).all() and (held[:, 2] == 32767).all()
    assert numbers_of(training_batches(audio(), seed=3, batch_size=5)(3)) == second[5:]


def test_processes_share_the_batch_of_one():
    whole = numbers_of(training_batches(audio(), seed=3, batch_size=4)(6))
    given = {"seed": 3, "batch_size": 4, "num_processes": 2}
    parts = [training_batches(audio(), process=i, **given)(6) for i in range(2)]
    assert sum(map(numbers_of, parts), []) == whole


def test_what_is_held_out_comes_in_order_until_its_end():
    batch = held_out_batches(audio(), batch_size=3)
    assert (
        num_held_out_batches(audio(), 3, None) == 2
        and num_held_out_batches(audio(), 3, 3) == 1
    )
    assert numbers_of(batch(1)) == [3, 4, 5]
    with pytest.raises(ValueError, match="held-out batch 2 of 3 clips, there are 2"):
        batch(2)
    with pytest.raises(ValueError, match=r"3 clips \(training\), wanted at least the"):
        training_batches(audio(3), seed=0, batch_size=4)
