"""Benchmarks: systems run in turn, each in a fresh process."""

from experiments.bench.image_transformer import measure_image_transformer
from experiments.bench.nuts import compare_samplers
from experiments.bench.scaling import measure_scaling
from experiments.bench.vae import measure_vae

__all__ = [
    "compare_samplers",
    "measure_image_transformer",
    "measure_scaling",
    "measure_vae",
]
