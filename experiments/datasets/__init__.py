"""The data sets.  `__all__` lists the names that a config may use."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.datasets.audio_on_disk import audio_files
    from experiments.datasets.audio_tfds import tfds_audio
    from experiments.datasets.covertype import load_covertype
    from experiments.datasets.crops import natural_image_crops
    from experiments.datasets.images_on_disk import image_array, image_files
    from experiments.datasets.images_tfds import tfds_images
    from experiments.datasets.tones import synthetic_tones

__all__ = [
    "audio_files",
    "image_array",
    "image_files",
    "load_covertype",
    "natural_image_crops",
    "synthetic_tones",
    "tfds_audio",
    "tfds_images",
]

_MODULES = {
    "audio_files": "audio_on_disk",
    "image_array": "images_on_disk",
    "image_files": "images_on_disk",
    "load_covertype": "covertype",
    "natural_image_crops": "crops",
    "synthetic_tones": "tones",
    "tfds_audio": "audio_tfds",
    "tfds_images": "images_tfds",
}


def __getattr__(name: str) -> Any:
    # On first use: readers of sounds and images are not needed, and may not be there,
    # where a benchmark runs on a machine with an accelerator.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
