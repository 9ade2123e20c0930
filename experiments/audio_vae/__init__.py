"""The paper's model-parallel variational autoencoder of 16-bit audio."""

from experiments.audio_vae.experiment import train
from experiments.audio_vae.program import Sizes

__all__ = ["Sizes", "train"]
