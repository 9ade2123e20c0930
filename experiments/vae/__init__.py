"""The paper's variational auto-encoders: of images, and of 16-bit audio."""

from experiments.vae.audio import AudioSizes
from experiments.vae.audio_experiment import train_audio
from experiments.vae.codebook import Codebook
from experiments.vae.images_experiment import train_images
from experiments.vae.vector_quantized import ImageSizes

__all__ = ["AudioSizes", "Codebook", "ImageSizes", "train_audio", "train_images"]
