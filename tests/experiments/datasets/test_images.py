"""Batches by number: what they promise, on images that say which they are."""

import threading

import numpy as np
import pytest

from experiments.datasets.images import (
    Images,
    Split,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)


def numbered(number, _):
    """Its number in red, a dark left half, so that a mirrored one is known."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = number
    image[:, 2:, 1] = 255
    return image


def drawn(_, random):
    return random.integers(256, size=(4, 4, 3)).astype(np.uint8)


def images(num=10, num_held_out=7, image=numbered, **more):
    splits = Split(num, image), Split(num_held_out, image)
    return Images("numbers", "this test", 4, *splits, **more)


ENDLESS = images(None, None, drawn)


def numbers_of(batch):
    return batch["image"][:, 0, 0, 0].tolist()


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own():
    batch = training_batches(images(), seed=3, batch_size=4)
    seen = [number for i in range(10) for number in numbers_of(batch(i))]
    epochs = [seen[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = training_batches(images(), seed=4, batch_size=10)
    assert numbers_of(other(0)) != epochs[0]


@pytest.mark.parametrize("given", [images(flip=True), ENDLESS])
def test_a_batch_is_of_its_number_in_whatever_order_it_is_asked_for(given):
    def made(order):
        batch = training_batches(given, seed=3, batch_size=4)
        return {number: batch(number)["image"] for number in order}

    forward, back = made(range(6)), made([5, 1, 3, 5, 0, 2, 4])
    for number in forward:
        np.testing.assert_array_equal(forward[number], back[number])
    assert len({forward[n].tobytes() for n in forward}) == 6
    far = training_batches(given, seed=3, batch_size=4)(10**9)
    assert far["image"].shape == (4, 4, 4, 3) and far["image"].dtype == np.int32


@pytest.mark.parametrize("given", [images(num_held_out=12), ENDLESS])
@pytest.mark.parametrize("num_processes", [2, 4])
def test_an_example_is_the_same_however_many_processes_share_the_batch(
    given, num_processes
):
    def shares(make, number, **more):
        parts = [
            make(given, batch_size=4, process=i, num_processes=num_processes, **more)
            for i in range(num_processes)
        ]
        return np.concatenate([part(number)["image"] for part in parts])

    for number in (0, 2):
        whole = training_batches(given, seed=3, batch_size=4)(number)["image"]
        np.testing.assert_array_equal(whole, shares(training_batches, number, seed=3))
        whole = held_out_batches(given, batch_size=4)(number)["image"]
        np.testing.assert_array_equal(whole, shares(held_out_batches, number))


def test_what_is_held_out_comes_in_order_and_unmirrored():
    given = images(flip=True)
    batch = held_out_batches(given, batch_size=3)
    assert (
        num_held_out_batches(given, 3, None) == 2
        and num_held_out_batches(given, 3, 3) == 1
    )
    assert numbers_of(batch(1)) == [3, 4, 5] and numbers_of(batch(0)) == [0, 1, 2]
    assert not batch(0)["image"][:, :, :2, 1].any()
    with pytest.raises(ValueError, match="held-out batch 2 of 3 images, there are 2"):
        batch(2)


def test_training_and_held_out_images_without_end_are_drawn_apart():
    assert num_held_out_batches(ENDLESS, 4, 400) == 100
    trained = training_batches(ENDLESS, seed=0, batch_size=64)(0)["image"]
    held_out = held_out_batches(ENDLESS, batch_size=64)(0)["image"]
    both = [image.tobytes() for image in (*trained, *held_out)]
    assert len(set(both)) == 128


def test_half_of_the_images_trained_on_are_mirrored_each_by_its_place():
    batch = training_batches(images(flip=True), seed=3, batch_size=10)
    mirrored = np.concatenate(
        [batch(number)["image"][:, 0, 0, 1] == 255 for number in range(100)]
    )
    # Of 1,000 fair coins between 422 and 578 are heads, but for one time in a million.
    assert 422 <= mirrored.sum() <= 578
    plain = training_batches(images(), seed=3, batch_size=10)
    assert numbers_of(plain(7)) == numbers_of(batch(7))
    assert not plain(7)["image"][:, 0, 0, 1].any()


def test_threads_make_the_batch_that_one_would():
    names = set()

    def image(number, random):
        names.add(threading.current_thread().name)
        return numbered(number, random)

    one = training_batches(images(), seed=3, batch_size=4)
    many = training_batches(images(image=image, num_threads=3), seed=3, batch_size=4)
    for number in range(5):
        np.testing.assert_array_equal(one(number)["image"], many(number)["image"])
    assert all(name.startswith("images") for name in names)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: training_batches(images(3), seed=0, batch_size=4),
            r"numbers: 3 images \(training\), wanted at least the 4 of a batch",
        ),
        (
            lambda: held_out_batches(images(num_held_out=1), batch_size=4),
            r"1 images \(held out\), wanted at least the 4",
        ),
        (
            lambda: training_batches(
                images(), seed=0, batch_size=4, process=0, num_processes=3
            ),
            "given 4, wanted a positive multiple of the 3 processes",
        ),
        (lambda: held_out_batches(images(), batch_size=0), "batch_size: given 0"),
    ],
)
def test_too_few_images_and_batches_that_do_not_divide_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
