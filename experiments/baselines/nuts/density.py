"""What samplers of other libraries share: random streams and evaluated densities."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from experiments.inference import SamplerSettings


def call_seeds(seed: int) -> Iterator[int]:
    """A seed of 32 bits for each call, so that every call has its own random stream."""
    for call in itertools.count():
        stream = np.random.SeedSequence((seed, call))
        yield int(stream.generate_state(1)[0])


def check_step_size(system: str, used: Any, settings: SamplerSettings) -> None:
    """Raises RuntimeError when a system used another step size than the one asked."""
    used = np.asarray(used)
    wanted = used.dtype.type(settings.step_size)
    if not np.allclose(used, wanted, rtol=1e-12, atol=0):
        raise RuntimeError(
            f"{system}'s step size: {used}, wanted {settings.step_size} at every draw"
        )


def stack(results: Iterable[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Log probs and gradients, one of each a point, as float64 arrays."""
    log_probs, grads = zip(*results, strict=True)
    return np.array(log_probs, np.float64), np.stack(grads).astype(np.float64)


def evaluate_jax(
    density: Callable, data: tuple[Any, ...], points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A density in JAX, of coefficients and data, and its gradient in float32."""
    import jax  # here, because Stan and PyMC do without it

    value_and_grad = jax.jit(jax.value_and_grad(density))
    return stack(value_and_grad(point, *data) for point in points.astype(np.float32))
