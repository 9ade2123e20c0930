"""The comparison harness: systems take turns, each in a fresh process."""

from experiments.bench.comparison import compare

__all__ = ["compare"]
