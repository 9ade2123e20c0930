"""Models and data of the right shapes to train, in place of the paper's own for now."""

from experiments.stand_ins.data import blob_images, token_lines
from experiments.stand_ins.experiment import train
from experiments.stand_ins.transformer import transformer
from experiments.stand_ins.vector_quantized import vector_quantized

__all__ = ["blob_images", "token_lines", "train", "transformer", "vector_quantized"]
