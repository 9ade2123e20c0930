"""One system that reads one folder of files in batches, in a process of its own.

Every system reads each file once, decodes it, cuts out the middle of an image, and
makes batches in shuffled order.  None keeps anything from one pass to the next.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.problems import Unavailable

BATCH = 16
Batches = Iterator[np.ndarray]


def evict(paths: list[str]) -> None:
    """Drops the files from the system's cache of pages."""
    for path in paths:
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def ours(task: dict[str, Any], paths: list[str]) -> Callable[[int], Batches]:
    """Our readers, which draw an order of their own."""
    from experiments.datasets import audio_files, batches, image_files

    folder, process, processes = task["folder"], task["process"], task["processes"]
    common = {"path": folder, "held_out_path": task["held_out"], "cache_bytes": 0}
    common["num_threads"] = task["threads"]
    data: Any
    if task["kind"] in ("jpeg", "png"):
        data = image_files(size=task["size"], flip=False, **common)
    else:
        data = audio_files(length=task["size"], rate=task["rate"], **common)
    size = BATCH * processes
    batch = batches.training_batches(
        data, seed=0, batch_size=size, process=process, num_processes=processes
    )
    num = data.training.num // size

    def passed(number: int) -> Batches:
        for index in range(num * number, num * (number + 1)):
            yield batch(index)[data.key]

    return passed


def tf_data(task: dict[str, Any], paths: list[str]) -> Callable[[int], Batches]:
    """tf.data with TensorFlow's own decoders, a batch made ahead."""
    import tensorflow as tf

    size = task["size"]
    if task["kind"] == "flac":
        raise Unavailable("TensorFlow has no decoder of FLAC")

    def image(path: tf.Tensor) -> tf.Tensor:
        data = tf.io.read_file(path)
        if task["kind"] == "jpeg":
            # The accurate transform, as libjpeg-turbo's default and Pillow's.
            pixels = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
        else:
            pixels = tf.io.decode_png(data, 3)
        top, left = (tf.shape(pixels)[i] - size for i in range(2))
        middle = tf.slice(pixels, [top // 2, left // 2, 0], [size, size, 3])
        return tf.cast(middle, tf.int32)

    def sound(path: tf.Tensor) -> tf.Tensor:
        samples, _ = tf.audio.decode_wav(tf.io.read_file(path), 1)
        return tf.cast(tf.round(2.0**15 * samples[:size, 0]), tf.int32)

    def passed(number: int) -> Batches:
        dataset = tf.data.Dataset.from_tensor_slices(paths)
        dataset = dataset.shuffle(len(paths), seed=number)
        make = sound if task["kind"] == "wav" else image
        dataset = dataset.map(make, num_parallel_calls=task["threads"])
        dataset = dataset.batch(BATCH, drop_remainder=True).prefetch(1)
        options = tf.data.Options()
        options.threading.private_threadpool_size = task["threads"]
        yield from dataset.with_options(options).as_numpy_iterator()

    return passed


def plain(task: dict[str, Any], paths: list[str]) -> Callable[[int], Batches]:
    """Pillow or soundfile in a loop."""
    import soundfile
    from PIL import Image

    size = task["size"]

    def image(path: str) -> np.ndarray:
        with Image.open(path) as opened:
            left, top = ((length - size) // 2 for length in opened.size)
            pixels = opened.convert("RGB").crop((left, top, left + size, top + size))
        return np.asarray(pixels)

    def sound(path: str) -> np.ndarray:
        samples, _ = soundfile.read(path, dtype="int16")
        return samples[:size]

    make = image if task["kind"] in ("jpeg", "png") else sound

    def passed(number: int) -> Batches:
        order = random.Random(number).sample(paths, len(paths))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[first : first + BATCH]
            yield np.stack([make(path) for path in chosen]).astype(np.int32)

    return passed


SYSTEMS = {"ours": ours, "tf_data": tf_data, "plain": plain}


def read(task: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a pass with no file in memory, and of passes after it.

    A pass before them warms up the system itself.
    """
    paths = sorted(str(path) for path in Path(task["folder"]).iterdir())
    share = paths[task["process"] :: task["processes"]]
    passed = SYSTEMS[task["system"]](task, share)
    seconds = []
    total, num_values, num = 0.0, 0, 0
    for number in range(2 + task["warm_passes"]):
        if number == 1:
            evict(share)
        began = time.perf_counter()
        for batch in passed(number):
            if not number:
                num += len(batch)
                num_values += batch.size
                total += float(np.abs(batch).sum())
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": {"cold": seconds[1], "warm": seconds[2:]},
        "examples": num,
        "mean": total / num_values,
    }


MODES = {"read": read}
