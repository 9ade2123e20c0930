"""The paper's model-parallel variational autoencoder of 16-bit audio."""

from experiments.audio_vae.experiment import train
from experiments.audio_vae.network import Sizes

__all__ = ["Sizes", "train"]
