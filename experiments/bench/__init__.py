"""The comparison harnesses: systems take turns, each in a fresh process."""

from experiments.bench.image_transformer import measure
from experiments.bench.nuts import compare
from experiments.bench.scaling import scale
from experiments.bench.vae import measure_vae

__all__ = ["compare", "measure", "measure_vae", "scale"]
