"""Some of a run's draws in memory, however many there are: for progress and plots."""

import numpy as np

from experiments.inference import Samples
from experiments.inference.diagnostics import MIN_DRAWS, ess_bulk
from experiments.inference.samples import concatenate

MOST_NUMBERS = 1 << 24  # in memory: 128 MiB of float64
MOST_DRAWS = 1000  # per chain
MOST_OF_ALL_CHAINS = 16_000  # draws, of few chains and of many
MOST_COORDINATES = 32  # that the progress's ESS looks at


class Kept:
    """Every n-th draw, from the first on; n doubles whenever there are too many."""

    def __init__(self, num_chains: int, dim: int) -> None:
        by_size = MOST_NUMBERS // max(1, num_chains * dim)
        of_all = MOST_OF_ALL_CHAINS // num_chains
        self._most = int(np.clip(min(by_size, of_all), 20, MOST_DRAWS))
        self._parts: list[Samples] = []
        self._seen = 0
        self.step = 1

    def add(self, chunk: Samples) -> None:
        """Keeps of the next draws what is wanted."""
        num = chunk.depth.shape[1]
        first = -self._seen % self.step
        self._seen += num
        self._parts.append(_every(chunk, first, self.step))
        while sum(part.depth.shape[1] for part in self._parts) > 2 * self._most:
            self._parts = [_every(concatenate(self._parts, axis=1), 0, 2)]
            self.step *= 2

    def samples(self) -> Samples:
        """The draws that are kept."""
        self._parts = [concatenate(self._parts, axis=1)]
        return self._parts[0]

    def ess(self) -> float:
        """The smallest bulk ESS of what is kept, which the run's own is at least.

        It is that of the log prob and of at most 32 coordinates.
        """
        samples = self.samples()
        if samples.depth.shape[1] < MIN_DRAWS:
            return 0.0
        dim = samples.draws.shape[-1]
        chosen = np.linspace(0, dim - 1, min(dim, MOST_COORDINATES)).astype(int)
        values = np.moveaxis(samples.draws[..., chosen], 2, 0).astype(np.float64)
        values = np.concatenate([values, samples.log_prob[np.newaxis]])
        if not np.isfinite(values).all():
            return 0.0
        return float(np.nan_to_num(ess_bulk(values)).min())


def _every(samples: Samples, first: int, step: int) -> Samples:
    return Samples(*(part[:, first::step] for part in samples))
