"""Every layout of an image file gives its true pixels, or is refused by name."""

import io

import numpy as np
import pytest
from PIL import Image

from experiments.datasets import image_decoding
from tests import image_layouts


def plain_pixels(data):
    """The pixels of a plain JPEG."""
    return np.atleast_3d(np.asarray(Image.open(io.BytesIO(data))))


LAYOUTS = image_layouts.layouts(plain_pixels)


def central(pixels, size=image_layouts.HEIGHT):
    top, left = ((length - size) // 2 for length in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_gives_its_true_pixels_or_is_refused_by_name(name):
    layout = LAYOUTS[name](np.random.default_rng(0))
    fit = image_decoding.Fit(image_layouts.HEIGHT, convert_grey=True)
    if layout.pixels is None:
        for read in (image_decoding.decode, image_decoding.check_header):
            with pytest.raises(ValueError, match=f"odd: .*{layout.error}"):
                read(io.BytesIO(layout.data), "odd", fit)
        return
    image_decoding.check_header(io.BytesIO(layout.data), "odd", fit)
    found = image_decoding.decode(io.BytesIO(layout.data), "odd", fit)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, central(layout.pixels), atol=layout.tolerance)
