"""Image files as cameras, scanners and editors lay them out, with their true pixels.

The PNGs are written here, byte by byte: their pixels are known without a reader.  A
JPEG's pixels are those that a given decoder finds in the plain file.
"""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

HEIGHT, WIDTH = 16, 24
ORIENTATION = 0x0112
ADAM7 = (  # first row and column, and steps, of each pass
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
UPRIGHT = {  # EXIF orientation -> the pixels that a viewer shows
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
KINDS = {0: "grey", 2: "colour"}
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # types of a PNG


class Layout(NamedTuple):
    """A file and what a right reader makes of it."""

    suffix: str
    data: bytes
    pixels: np.ndarray | None  # [height, width, 3]; None: the file is refused
    error: str = ""  # of a refused file
    tolerance: int = 0  # levels of 255, where a conversion rounds


def noise(random, *shape, depth=8):
    return random.integers(2**depth, size=shape)


def scene(random):
    """[HEIGHT, WIDTH, 3] uint8, smooth and without symmetry."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    waves = random.uniform(0.05, 0.2, (3, 3))
    planes = [127 + 100 * np.sin(a * row + b * column + 6 * c + 1) for a, b, c in waves]
    return np.stack(planes, axis=-1).astype(np.uint8)


# PNG.


def chunk(kind, content):
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )


def rows(samples, depth):
    """The rows of a pass, each after the number of its filter, none."""
    flat = samples.reshape(len(samples), -1).astype(np.int64)
    if depth == 16:
        packed = flat.astype(">u2").view(np.uint8)
    else:
        bits = flat[..., np.newaxis] >> np.arange(depth - 1, -1, -1) & 1
        packed = np.packbits(bits.reshape(len(flat), -1).astype(np.uint8), axis=1)
    return np.pad(packed, [(0, 0), (1, 0)]).tobytes()


def png(samples, kind, depth=8, *, before=(), after=(), interlaced=False):
    """A PNG of [height, width] or [height, width, channels] samples."""
    height, width = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    content = b"".join(rows(samples[r::dr, c::dc], depth) for r, c, dr, dc in passes)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *before,
            chunk(b"IDAT", zlib.compress(content)),
            *after,
            chunk(b"IEND", b""),
        )
    )


def grey_png(random, depth, **more):
    samples = noise(random, HEIGHT, WIDTH, depth=depth)
    eight = samples >> 8 if depth == 16 else samples * 255 // (2**depth - 1)
    return Layout(
        "png",
        png(samples, GREY, depth, **more),
        np.repeat(eight[..., np.newaxis], 3, axis=-1),
    )


def colour_png(random, depth=8, **more):
    samples = noise(random, HEIGHT, WIDTH, 3, depth=depth)
    return Layout("png", png(samples, COLOUR, depth, **more), samples >> (depth - 8))


def palette_png(random, depth, **more):
    palette = noise(random, 2**depth, 3)
    samples = noise(random, HEIGHT, WIDTH, depth=depth)
    colours = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    data = png(samples, PALETTE, depth, before=(colours,), **more)
    return Layout("png", data, palette[samples])


def alpha_png(random, kind, depth, least=None):
    """A PNG with alpha, opaque unless `least` is the alpha of its last pixel."""
    channels = 1 if kind == GREY_ALPHA else 3
    samples = noise(random, HEIGHT, WIDTH, channels, depth=depth)
    alpha = np.full((HEIGHT, WIDTH, 1), 2**depth - 1)
    alpha[-1, -1] = 2**depth - 1 if least is None else least
    data = png(np.concatenate([samples, alpha], axis=-1), kind, depth)
    if least is not None:
        return Layout("png", data, None, "is transparent, wanted opaque")
    return Layout("png", data, np.repeat(samples >> (depth - 8), 3 // channels, -1))


def key_png(random, kind, depth, *, used):
    """A PNG with a transparent colour that a pixel has, or none has."""
    shape = (HEIGHT, WIDTH, 3)[: 2 if kind == GREY else 3]
    most = 2**depth - 1
    samples = noise(random, *shape, depth=depth)
    key = most // 3
    step = 257 if depth == 16 else 1  # of the high byte, which alone Pillow keeps
    samples[samples // step == key // step] = most if key == 0 else 0
    samples[-1, -1] = key if used else most
    values = [key] * (1 if kind == GREY else 3)
    transparent = chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))
    data = png(samples, kind, depth, before=(transparent,))
    if used:
        return Layout("png", data, None, "is transparent, wanted opaque")
    eight = samples >> 8 if depth == 16 else samples * 255 // most
    return Layout("png", data, eight if kind else np.repeat(eight[..., None], 3, -1))


def key_beside(random):
    """16-bit grey, with a transparent colour one level beside a pixel's."""
    samples = noise(random, HEIGHT, WIDTH, depth=16) // 2 * 2
    key = chunk(b"tRNS", struct.pack(">H", int(samples[0, 0]) + 1))
    eight = np.repeat(samples[..., np.newaxis] >> 8, 3, -1)
    return Layout("png", png(samples, GREY, 16, before=(key,)), eight)


def exif_bytes(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def turned_png(random, orientation, place):
    exif = chunk(b"eXIf", exif_bytes(orientation).removeprefix(b"Exif\0\0"))
    layout = colour_png(random, **{place: (exif,)})
    return layout._replace(pixels=UPRIGHT[orientation](layout.pixels))


def animated_png(random):
    first, second = (noise(random, HEIGHT, WIDTH, 3).astype(np.uint8) for _ in range(2))
    held = io.BytesIO()
    other = Image.fromarray(second)
    Image.fromarray(first).save(held, "PNG", save_all=True, append_images=[other])
    return Layout("png", held.getvalue(), first)


def gamma_png(random, gamma):
    """A PNG that says its gamma; expected as its specification says, section 13.13."""
    chunks = (chunk(b"gAMA", struct.pack(">I", round(1e5 * gamma))),)
    layout = colour_png(random, before=chunks)
    light = (layout.pixels / 255) ** (1 / gamma)
    low, high = 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    encoded = np.rint(255 * np.where(light <= 0.0031308, low, high))
    return layout._replace(pixels=layout.pixels if gamma == 0.45455 else encoded)


# ICC profiles.


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """sRGB with the primaries of red and green exchanged."""
    held = srgb_profile().replace(b"rXYZ", b"tXYZ", 1).replace(b"gXYZ", b"rXYZ", 1)
    return held.replace(b"tXYZ", b"gXYZ", 1)


def hand_made_profile(space, connection, tags):
    """A profile of version 2 with these tags."""
    at = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, held in tags.items():
        held += bytes(-len(held) % 4)
        table += name + struct.pack(">II", at + len(content), len(held))
        content += held
    header = struct.pack(
        ">I4sI4s4s4s12s4s28s12s48s",
        at + len(content), b"", 0x02400000, b"prtr", space, connection, b"", b"acsp",
        b"", struct.pack(">III", 0xF6D6, 0x10000, 0xD32D), b"",
    )  # fmt: skip
    return header + table + content


def linear_grey_profile():
    """Grey levels that are proportional to light."""
    white = b"XYZ \0\0\0\0" + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    return hand_made_profile(b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": curve})


def cmyk_profile():
    """Inks of which each halves the lightness, and black is black: a table in Lab."""
    corners = np.indices((2, 2, 2, 2)).reshape(4, 16)
    lightness = np.where(corners[3] == 1, 0.0, 0.5 ** corners[:3].sum(axis=0))
    table = np.stack([255 * lightness, np.full(16, 128), np.full(16, 128)], axis=1)
    ramp = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536 * np.eye(3).ravel()).astype(int))
    held = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix
    held += 4 * ramp + np.rint(table).astype(np.uint8).tobytes() + 3 * ramp
    white = b"XYZ \0\0\0\0" + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return hand_made_profile(b"CMYK", b"Lab ", {b"wtpt": white, b"A2B0": held})


def icc_chunk(profile):
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))


def profiled_png(random, profile, make, tolerance=2, depth=8):
    """make: a layout's true pixels from the plain ones."""
    layout = colour_png(random, depth, before=(icc_chunk(profile),))
    return layout._replace(pixels=make(layout.pixels), tolerance=tolerance)


def linear_grey(random):
    layout = grey_png(random, 8, before=(icc_chunk(linear_grey_profile()),))
    light = layout.pixels / 255
    low, high = 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    encoded = np.rint(255 * np.where(light <= 0.0031308, low, high))
    return layout._replace(pixels=encoded, tolerance=2)


def wrong_profile(random, profile, error):
    layout = colour_png(random, before=(icc_chunk(profile),))
    return layout._replace(pixels=None, error=error)


# JPEG and WebP, by Pillow's writers.


def saved(image, form, **more):
    held = io.BytesIO()
    image.save(held, form, **more)
    return held.getvalue()


def jpeg(random, decode, *, mode="RGB", **more):
    image = Image.fromarray(scene(random)).convert(mode)
    data = saved(image, "JPEG", **more)
    pixels = decode(data)
    return Layout("jpg", data, np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def turned_jpeg(random, decode, orientation, form="JPEG"):
    """A photograph, alone or with a second picture as phones store it (MPO)."""
    image = Image.fromarray(scene(random))
    more = {"exif": exif_bytes(orientation)}
    if form == "MPO":
        more |= {"save_all": True, "append_images": [Image.fromarray(scene(random))]}
    pixels = UPRIGHT[orientation](decode(saved(image, "JPEG")))
    return Layout("jpg", saved(image, form, **more), pixels)


def profiled_jpeg(random, decode):
    layout = jpeg(random, decode, icc_profile=swapped_profile())
    return layout._replace(pixels=layout.pixels[..., [1, 0, 2]], tolerance=2)


def twelve_bit_jpeg(random, decode):
    """The header alone says so: a reader refuses it before the pixels."""
    held = bytearray(jpeg(random, decode).data)
    held[held.index(b"\xff\xc0") + 4] = 12
    return Layout("jpg", bytes(held), None, "no PNG, JPEG or WebP")


def inks(random):
    """Flat columns without ink, with one ink, and black: a CMYK image."""
    held = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    held[:, 8:16, random.integers(3)] = 255
    held[:, 16:, 3] = 255
    return held


def cmyk_jpeg(random):
    held = inks(random)
    data = saved(Image.fromarray(held, "CMYK"), "JPEG", quality=100)
    plain = (255 - held[..., :3].astype(int)) * (255 - held[..., 3:].astype(int)) // 255
    return Layout("jpg", data, plain, tolerance=3)


def cmyk_with_profile(random):
    """Half of the lightness of white is sRGB level 119."""
    image = Image.fromarray(inks(random), "CMYK")
    data = saved(image, "JPEG", quality=100, icc_profile=cmyk_profile())
    pixels = np.repeat([255, 119, 0], 8)[np.newaxis, :, np.newaxis]
    return Layout("jpg", data, np.broadcast_to(pixels, (HEIGHT, WIDTH, 3)), "", 3)


def webp(random, *, orientation=1, frames=1, alpha=None):
    stored = noise(random, HEIGHT, WIDTH, 3).astype(np.uint8)
    more = {"exif": exif_bytes(orientation)} if orientation > 1 else {}
    if frames > 1:
        others = [Image.fromarray(stored[::-1].copy())] * (frames - 1)
        more |= {"save_all": True, "append_images": others}
    image = Image.fromarray(stored)
    if alpha is not None:
        image.putalpha(alpha)
    data = saved(image, "WEBP", lossless=True, exact=True, **more)
    if alpha is not None:
        return Layout("webp", data, None, "is transparent, wanted opaque")
    return Layout("webp", data, UPRIGHT[orientation](stored))


def lossy_webp(random):
    """A flat colour, since no two writers lose the same of another."""
    colour = noise(random, 3).astype(np.uint8)
    flat = np.broadcast_to(colour, (HEIGHT, WIDTH, 3))
    data = saved(Image.fromarray(flat.copy()), "WEBP", quality=100)
    return Layout("webp", data, flat, tolerance=4)


def same_high_byte(random):
    """16-bit colour with a transparent colour that no pixel has, but for a low byte."""
    samples = noise(random, HEIGHT, WIDTH, 3, depth=16)
    key = samples[0, 0] ^ 1
    transparent = chunk(b"tRNS", struct.pack(">3H", *key))
    data = png(samples, COLOUR, 16, before=(transparent,))
    return Layout("png", data, None, "is transparent, wanted opaque")


def layouts(decode):
    """Functions of a random generator by name.  decode: a plain JPEG's pixels."""
    swap = swapped_profile()
    made = {
        **{f"PNG, grey, {d} bit": (grey_png, d) for d in (1, 2, 4, 8, 16)},
        "PNG, colour, 8 bit": (colour_png, 8),
        "PNG, colour, 16 bit": (colour_png, 16),
        **{f"PNG, palette, {d} bit": (palette_png, d) for d in (1, 2, 4, 8)},
        **{f"PNG, grey and alpha, {d} bit": (alpha_png, 4, d) for d in (8, 16)},
        **{f"PNG, colour and alpha, {d} bit": (alpha_png, 6, d) for d in (8, 16)},
        "PNG, colour and alpha, transparent": (alpha_png, COLOUR_ALPHA, 8, 254),
        "PNG, grey and alpha, transparent": (alpha_png, GREY_ALPHA, 16, 0),
        "PNG, interlaced": lambda r: colour_png(r, interlaced=True),
        "PNG, interlaced, grey, 16 bit": lambda r: grey_png(r, 16, interlaced=True),
        "PNG, transparent colour beside a pixel's, 16 bit": (key_beside,),
        "PNG, transparent colour with a pixel's high bytes, 16 bit": (same_high_byte,),
        "PNG, primaries": lambda r: colour_png(r, before=(chunk(b"cHRM", bytes(32)),)),
        "PNG, eXIf before the pixels": (turned_png, 6, "before"),
        "PNG, eXIf after the pixels": (turned_png, 8, "after"),
        "PNG, animated": (animated_png,),
        "PNG, gamma 0.45455": (gamma_png, 0.45455),
        "PNG, gamma 1": (gamma_png, 1.0),
        "PNG, gamma 0.55556": (gamma_png, 0.55556),
        "PNG, ICC profile of sRGB": (profiled_png, srgb_profile(), np.asarray, 0),
        "PNG, ICC profile, colour": (profiled_png, swap, lambda p: p[..., [1, 0, 2]]),
        "PNG, ICC profile, colour, 16 bit": (
            profiled_png, swap, lambda p: p[..., [1, 0, 2]], 2, 16,
        ),
        "PNG, ICC profile, grey": (linear_grey,),
        "PNG, ICC profile, damaged": (wrong_profile, b"x" * 200, "damaged ICC profile"),
        "PNG, ICC profile of another mode": (
            wrong_profile, linear_grey_profile(), "profile for L, wanted one for RGB",
        ),
        "JPEG, baseline": lambda r: jpeg(r, decode),
        "JPEG, progressive": lambda r: jpeg(r, decode, progressive=True),
        "JPEG, chroma of full size": lambda r: jpeg(r, decode, subsampling=0),
        "JPEG, restart markers": lambda r: jpeg(r, decode, restart_marker_blocks=1),
        "JPEG, grey": lambda r: jpeg(r, decode, mode="L"),
        "JPEG, 12 bit": lambda r: twelve_bit_jpeg(r, decode),
        "JPEG, CMYK": (cmyk_jpeg,),
        "JPEG, ICC profile, colour": lambda r: profiled_jpeg(r, decode),
        "JPEG, ICC profile, CMYK": (cmyk_with_profile,),
        "WebP, lossless": (webp,),
        "WebP, lossy": (lossy_webp,),
        "WebP, animated": lambda r: webp(r, frames=3),
        "WebP, transparent": lambda r: webp(r, alpha=200),
    }  # fmt: skip
    for used, word in ((False, "no"), (True, "a")):
        for kind, depth in ((0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)):
            name = f"PNG, {KINDS[kind]}, {depth} bit, transparent colour"
            made[f"{name} that {word} pixel has"] = lambda r, k=kind, d=depth, u=used: (
                key_png(r, k, d, used=u)
            )
    for turn in UPRIGHT:
        for form in ("JPEG", "MPO"):
            made[f"{form}, EXIF orientation {turn}"] = lambda r, t=turn, f=form: (
                turned_jpeg(r, decode, t, f)
            )
        made[f"PNG, EXIF orientation {turn}"] = (turned_png, turn, "before")
        made[f"WebP, EXIF orientation {turn}"] = lambda r, t=turn: webp(
            r, orientation=t
        )
    return {
        name: how if callable(how) else lambda r, h=how: h[0](r, *h[1:])
        for name, how in made.items()
    }
