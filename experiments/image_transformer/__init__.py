"""The paper's Image Transformer: images by masked local self-attention."""

from experiments.image_transformer.experiment import train
from experiments.image_transformer.network import Sizes
from experiments.image_transformer.program import image_transformer

__all__ = ["Sizes", "image_transformer", "train"]
