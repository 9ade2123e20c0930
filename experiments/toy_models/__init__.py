"""Small models with synthetic data, to test and measure the engines with."""

from experiments.toy_models.autoencoder import vector_quantized
from experiments.toy_models.data import blob_images, token_lines
from experiments.toy_models.experiment import train
from experiments.toy_models.transformer import transformer

__all__ = ["blob_images", "token_lines", "train", "transformer", "vector_quantized"]
