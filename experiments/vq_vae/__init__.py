"""The paper's vector-quantised variational autoencoder of images."""

from experiments.vq_vae.codebook import Codebook
from experiments.vq_vae.experiment import train
from experiments.vq_vae.program import Sizes

__all__ = ["Codebook", "Sizes", "train"]
