"""The data sets.  `__all__` lists the names that a config may use."""

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
