"""The paper's model-parallel variational autoencoder of 16-bit audio."""

from experiments.audio_vae.experiment import train_audio
from experiments.audio_vae.program import AudioSizes

__all__ = ["AudioSizes", "train_audio"]
