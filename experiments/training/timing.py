"""Seconds, flops and bytes of training: step clock, matmul peak, MFU and memory."""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf


class StepClock:
    """Times steps between two stops for anything else."""

    def __init__(
        self, batch_size: int, flops_per_step: float, peak_flops: float | None
    ) -> None:
        """peak_flops: flops a second of the devices; None: no MFU is computed."""
        self._batch_size = batch_size
        self._flops, self._peak_flops = flops_per_step, peak_flops
        self._step_seconds = math.nan
        self._stopped = 0.0
        self.restart()

    def restart(self, *, at_last_stop: bool = False) -> None:
        """Counts from now on; or from the last stop, so that reporting counts too."""
        self.num_steps, self.seconds, self._data_seconds = 0, 0.0, 0.0
        self._began = self._stopped if at_last_stop else time.perf_counter()

    def stop(self) -> None:
        self._stopped = time.perf_counter()
        self.seconds = self._stopped - self._began

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._data_seconds += time.perf_counter() - began

    def metrics(self) -> dict[str, float]:
        """Times of a step; empty if no step was taken since the restart."""
        if not self.num_steps:
            return {}
        self._step_seconds = self.seconds / self.num_steps
        metrics = {
            "step_seconds": self._step_seconds,
            "data_seconds": self._data_seconds / self.num_steps,
            "examples_per_second": self._batch_size / self._step_seconds,
        }
        if self._peak_flops:
            metrics["mfu"] = self._flops / self._step_seconds / self._peak_flops
        return metrics

    def time_left(self, num_steps: int) -> str:
        """What so many more steps take, as H:MM:SS."""
        seconds = self._step_seconds * num_steps if num_steps else 0.0
        if math.isnan(seconds):
            return "(no step timed yet)"
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{rest:02d}"


PEAK_SIZES = (512, 1024, 2048, 4096, 8192)  # rows of the products' factors


def peak_matmul_flops(devices: Sequence[str], dtype: str) -> float:
    """Flops a second of square matrix products on all these devices at once.

    The best of several calls, of `PEAK_SIZES` until one takes a tenth of a second.
    """
    num_products = 4

    @tf.function
    def multiply(factors: list[tf.Tensor]) -> list[tf.Tensor]:
        corners = []
        for device, factor in zip(devices, factors, strict=True):
            with tf.device(device):
                product = factor
                for _ in range(num_products):
                    product = tf.matmul(product, factor)
                corners.append(product[0, 0])
        return corners

    best = seconds = 0.0  # flops a second; of the fastest call of the last size
    for size in PEAK_SIZES:
        if seconds > 0.1:
            break
        factors = []
        for device in devices:
            with tf.device(device):  # entries of 1 / size: products stay the same
                factors.append(tf.cast(tf.fill((size, size), 1 / size), dtype))
        multiply(factors)  # traces
        calls = []
        for _ in range(5):
            began = time.perf_counter()
            for corner in multiply(factors):
                corner.numpy()
            calls.append(time.perf_counter() - began)
        seconds = min(calls)  # other work on the machine slows single calls
        best = max(best, num_products * len(devices) * 2.0 * size**3 / seconds)
    return best


def memory(variable_bytes: Mapping[str, int]) -> dict[str, int]:
    """Bytes: of this process, and of the fullest device's variables and peak use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    metrics = {
        "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "device_variable_bytes": max(variable_bytes.values()),
    }
    peaks = [
        tf.config.experimental.get_memory_info(device)["peak"]
        for device in variable_bytes
        if not device.startswith("CPU")  # TensorFlow counts no CPU memory
    ]
    return metrics | ({"device_peak_bytes": max(peaks)} if peaks else {})
