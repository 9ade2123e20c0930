"""The paper's variational autoencoders: their codes and their programs."""

from experiments.vae.codebook import Codebook
from experiments.vae.images_experiment import train_images
from experiments.vae.vector_quantized import ImageSizes

__all__ = ["Codebook", "ImageSizes", "train_images"]
