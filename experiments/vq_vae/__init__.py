"""The paper's vector-quantised variational autoencoder of images."""

from experiments.vq_vae.experiment import train
from experiments.vq_vae.network import Sizes
from experiments.vq_vae.quantizer import Codebook

__all__ = ["Codebook", "Sizes", "train"]
