"""Which sizes the hand-written Image Transformers support."""

from typing import Any


def num_blocks(sizes: Any) -> int:
    """The number of attention blocks of `image_transformer.Sizes`.

    Raises ValueError unless attention is local_1d, positions are learned and the blocks
    divide the image into two or more.
    """
    if sizes.attention != "local_1d" or sizes.positions != "learned":
        raise ValueError(
            f"sizes: given {sizes.attention!r} and {sizes.positions!r}, wanted "
            "'local_1d' and 'learned'"
        )
    values = 3 if sizes.likelihood == "dmol" else 1  # of a position
    positions = sizes.height * sizes.width * 3 // values
    if positions % sizes.block or positions < 2 * sizes.block:
        raise ValueError(
            f"block: given {sizes.block}, wanted one that divides {positions} "
            "positions into two or more"
        )
    return positions // sizes.block
