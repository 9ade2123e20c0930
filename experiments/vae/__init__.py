"""The paper's variational auto-encoders: of images, and of 16-bit audio."""

from experiments.vae.audio import AudioSizes
from experiments.vae.audio_experiment import train_audio

__all__ = ["AudioSizes", "train_audio"]
