"""Models of the scaling benchmark, made of its options; reached by name."""

from typing import Any

from experiments.training.model import Model
from experiments.vq_vae import Codebook, Sizes, program


def vq_vae(**options: Any) -> Model:
    """The vector-quantised

    options: fields of `vq_vae.Sizes` and of `vq_vae.Codebook`.

    Raises ValueError for other names, and as `vector_quantized.model` does.
    """
    unknown = sorted(set(options) - {*Sizes._fields, *Codebook._fields})
    missing = [n for n in ("size", "channels") if n not in options]
    if unknown or missing:
        raise ValueError(
            f"vq_vae: given {unknown}, which nothing reads, and without {missing}"
        )
    of_book = {name: v for name, v in options.items() if name in Codebook._fields}
    of_sizes = {name: v for name, v in options.items() if name not in of_book}
    return program.model(Sizes(**of_sizes), Codebook(**of_book))
