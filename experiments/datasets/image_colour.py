"""Brings the pixels of an open image to opaque 8-bit sRGB."""

import functools
import io
import struct

import numpy as np
from PIL import Image, ImageCms

from experiments.datasets.files import CorruptFileError

GREY_MODES = ("1", "L", "LA", "I", "I;16")
ALPHA_MODES = ("LA", "PA", "RGBA")
KEY_MODES = ("1", "L", "I;16", "RGB")  # of which one colour may be transparent
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
SRGB_GAMMA = 0.45455  # what a PNG with sRGB pixels says
UNCHANGED = 2  # of 255: what a profile of sRGB itself may differ by
SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile: a mode of Pillow
BROKEN_PROFILE = (OSError, ValueError, ImageCms.PyCMSError, struct.error)


def has_alpha(image: Image.Image) -> bool:
    """Whether only the pixels show if it is opaque."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def check_opaque(image: Image.Image, label: str, depth: int) -> None:
    """Raises ValueError if any pixel of a loaded image is transparent.

    depth: bits of a channel in the file.
    """
    if not has_alpha(image):
        return
    if image.mode in KEY_MODES:
        clear = _shows_key(image, depth)
    else:
        alpha = image if image.mode in ALPHA_MODES else image.convert("RGBA")
        least, _ = alpha.getchannel("A").getextrema()
        clear = least < 255
    if clear:
        raise ValueError(f"{label}: is transparent, wanted opaque pixels")


def to_srgb(image: Image.Image, label: str) -> Image.Image:
    """The sRGB pixels of an opaque image: 8 bits in three channels.

    16 bits become their high byte.  An ICC profile is converted by LittleCMS with its
    own rendering intent; without one, a PNG's gamma is.

    Raises CorruptFileError for a profile that is damaged or for another kind of image.
    """
    check_profile(image, label)
    profile = image.info.get("icc_profile")
    gamma = None if "srgb" in image.info else image.info.get("gamma")
    if image.mode.startswith("I"):  # of 16 bits, and `convert` would clip them
        wide = np.asarray(image, np.int64)
        image = Image.fromarray((wide >> 8).astype(np.uint8))
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    if profile:
        mode, transform = _transform(profile)
        image = image if image.mode == mode else image.convert(mode)
        if transform is not None:
            image = ImageCms.applyTransform(image, transform)
    image = image if image.mode == "RGB" else image.convert("RGB")
    if not profile and gamma and abs(gamma / SRGB_GAMMA - 1) > 0.01:
        return image.point(_gamma_table(gamma))
    return image


def check_profile(image: Image.Image, label: str) -> None:
    """Raises CorruptFileError for an ICC profile that `to_srgb` cannot apply."""
    profile = image.info.get("icc_profile")
    if not profile:
        return
    try:
        mode, _ = _transform(profile)
    except BROKEN_PROFILE as error:
        raise CorruptFileError(f"{label}: damaged ICC profile ({error})") from error
    modes = {"L": GREY_MODES, "CMYK": ("CMYK",)}.get(mode)
    if (image.mode == "CMYK") if modes is None else (image.mode not in modes):
        raise CorruptFileError(
            f"{label}: an ICC profile for {mode}, wanted one for {image.mode}"
        )


def _shows_key(image: Image.Image, depth: int) -> bool:
    """Whether any pixel has the colour that the PNG declares transparent.

    Pillow keeps the high byte of 16-bit colours, so it is compared alone there.
    """
    key = np.array(image.info["transparency"], np.int64)
    if image.mode == "1":
        key = key > 0
    elif image.mode == "RGB" and depth == 16:
        key = key >> 8
    else:
        key = key & (2**depth - 1)
        if depth < 8:  # Pillow scales pixels to 8 bits, and not the colour
            key = key * 255 // (2**depth - 1)
    same = np.asarray(image) == key
    return bool((same.all(axis=-1) if image.mode == "RGB" else same).any())


@functools.lru_cache(64)  # cameras and editors use few profiles
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """A profile's mode and its conversion to sRGB; None if it is sRGB already."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space
    if space not in SPACES:
        raise ValueError(f"of {space.strip()}, wanted RGB, grey or CMYK")
    mode = SPACES[space]
    intent = ImageCms.Intent(ImageCms.getDefaultIntent(opened))
    # Without a flag LittleCMS samples a grey curve too coarsely for dark levels.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.HIGHRESPRECALC
    transform = ImageCms.buildTransform(opened, SRGB, mode, "RGB", intent, flags)
    if mode == "CMYK":
        return mode, transform
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "RGB":
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
        given = np.ascontiguousarray(grid.reshape(1, -1, 3))
    else:
        given = levels[np.newaxis]
    made = np.asarray(ImageCms.applyTransform(Image.fromarray(given), transform))
    plain = given if mode == "RGB" else given[..., np.newaxis]
    change = np.abs(made.astype(int) - plain).max()
    return mode, None if change <= UNCHANGED else transform


def _gamma_table(gamma: float) -> list[int]:
    """sRGB levels of the levels of a PNG with this gamma, for three channels.

    PNG, third edition, 13.13: the light is the level to the power of 1 / gamma.
    """
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    curve = 1.055 * light ** (1 / 2.4) - 0.055
    level = np.where(light <= 0.0031308, 12.92 * light, curve)
    return np.rint(255 * level).astype(int).tolist() * 3
