"""The sizes of Image Transformers and of priors on codes, for all baselines."""

import math
from typing import Any, NamedTuple

import numpy as np

MASKED = -1e9


class TransformerSizes(NamedTuple):
    """Layers whose positions attend to their own block and to the block before."""

    rows: int  # of positions
    columns: int
    layers: int
    heads: int
    hidden: int
    key_size: int
    value_size: int
    filter_size: int
    block: int  # positions


def of_image_transformer(sizes: Any) -> TransformerSizes:
    """Those of `image_transformer.Sizes`.

    Raises ValueError unless attention is local_1d, positions are learned and the blocks
    divide the image into two or more.
    """
    if sizes.attention != "local_1d" or sizes.positions != "learned":
        raise ValueError(
            f"sizes: given {sizes.attention!r} and {sizes.positions!r}, wanted "
            "'local_1d' and 'learned'"
        )
    columns = sizes.width * (1 if sizes.likelihood == "dmol" else 3)
    positions = sizes.height * columns
    if positions % sizes.block or positions < 2 * sizes.block:
        raise ValueError(
            f"block: given {sizes.block}, wanted one that divides {positions} "
            "positions into two or more"
        )
    shared = TransformerSizes._fields[2:]
    return TransformerSizes(
        sizes.height, columns, *(getattr(sizes, name) for name in shared)
    )


def of_prior(sizes: Any) -> TransformerSizes:
    """Those of the prior of `vq_vae.Sizes`, whose last block need not be full.

    Raises ValueError for fewer than two blocks.
    """
    side = sizes.size // math.prod(sizes.strides)
    columns = side * sizes.codes_per_position
    if side * columns < 2 * sizes.prior_block:
        raise ValueError(
            f"prior_block: given {sizes.prior_block}, wanted two blocks or more of the "
            f"{side * columns} codes"
        )
    return TransformerSizes(
        side,
        columns,
        sizes.prior_layers,
        sizes.prior_heads,
        sizes.prior_hidden,
        sizes.prior_hidden // 2,
        sizes.prior_hidden // 2,
        sizes.prior_filter_size,
        sizes.prior_block,
    )


def attention_bias(size: int) -> np.ndarray:
    """The bias of a block's scores, [size, 2 size]: MASKED, or 0 if visible.

    The first half of the keys are those of the block before, all of them visible; the
    second half are the block's own, visible up to the query.
    """
    own = np.triu(np.full((size, size), MASKED, np.float32), 1)
    return np.concatenate([np.zeros_like(own), own], 1)
