"""The models that benchmarks train and their examples, made of a task's options."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments import audio_vae, datasets, image_transformer, toy_models, vq_vae
from experiments.audio_vae import network as audio_network
from experiments.audio_vae import program as audio_program
from experiments.bench.harness import check_keys
from experiments.bench.problems import Draws
from experiments.datasets import audio, images
from experiments.engines.manual_placement import Placement
from experiments.image_transformer import program as image_program
from experiments.toy_models import data as toy_data
from experiments.training import prng
from experiments.training.model import Model, Weight, initial_weight
from experiments.training.prng import BatchRng
from experiments.training.train_step import step_seed
from experiments.vq_vae import network as vq_vae_network
from experiments.vq_vae import program as vq_vae_program

NUM_BATCHES = 4  # made before the clock starts; steps go through them again and again

Options = Mapping[str, Any]


class Subject(NamedTuple):
    """How a model and its examples are made of a task's options."""

    model: Callable[..., Model]  # of `sizes`, or of all options
    data: Callable[[Options], Any]
    batches: Callable[..., Any]
    sizes: tuple[Any, ...] = ()  # NamedTuples whose fields are the options
    # (generator, batch size, sizes) -> what our program draws in a step
    draws: Callable[..., Mapping[str, np.ndarray]] | None = None
    placement: Callable[..., Placement] | None = None  # takes sizes

    def read(self, options: Options) -> list[Any]:
        """The sizes of these options.

        Raises ValueError for unknown options and missing ones.
        """
        values: dict[str, Any] = {}
        for sizes in self.sizes:
            values |= sizes._field_defaults
        fields = [field for sizes in self.sizes for field in sizes._fields]
        required = [field for field in fields if field not in values]
        check_keys("options", options, required, values)
        for name, value in options.items():  # from JSON, which has no tuples
            values[name] = tuple(value) if isinstance(value, list) else value
        return [sizes(*map(values.get, sizes._fields)) for sizes in self.sizes]

    def make(self, options: Options) -> Model:
        """The model.  Raises ValueError for options of which none can be made."""
        return self.model(*self.read(options)) if self.sizes else self.model(**options)

    def random_numbers(self, options: Options, seed: int, batch: int) -> Draws:
        """Those that our program draws in a step, for other systems.

        Those of the first steps, which include the compared ones, come again and again.
        """
        first = [
            self.draws(
                BatchRng(tf.constant(step_seed(seed, number)), tf.constant(0)),
                batch,
                *self.read(options),
            )
            for number in range(NUM_BATCHES)
        ]
        return lambda number: first[number % NUM_BATCHES]


def image_draws(
    random: BatchRng, batch: int, sizes: vq_vae.Sizes, codebook: vq_vae.Codebook
) -> dict[str, np.ndarray]:
    """The uniform numbers that codes are drawn with, and the vectors of new codes."""
    rows, columns, codes_per_position = vq_vae_network.code_shape(sizes)
    of_image = rows * columns * codes_per_position
    shape = (batch, of_image * codebook.num_samples)
    uniform = prng.uniform(random, "codes", shape).numpy()
    words = prng.bits(random, "restart", (codebook.num_codes, 1))[:, 0].numpy()
    return {
        "uniform": uniform.reshape(batch * of_image, codebook.num_samples),
        "chosen": (words.astype(np.int64) % (batch * of_image)).astype(np.int32),
    }


def audio_draws(
    random: BatchRng, batch: int, sizes: audio_vae.Sizes
) -> dict[str, np.ndarray]:
    """The noise of the dequantisation and of the latents."""
    uniform = prng.uniform(random, "dequantize", (batch, sizes.length))
    noise = prng.normal(random, "z", (batch, sizes.latents))
    return {"dequantization": uniform.numpy(), "noise": noise.numpy()}


def initial_weights(weights: Mapping[str, Weight], seed: int) -> dict[str, np.ndarray]:
    """The arrays that all systems start from, by name."""
    return {name: initial_weight(w, name, seed) for name, w in weights.items()}


SUBJECTS = {
    "transformer": Subject(
        toy_models.transformer,
        lambda options: toy_models.token_lines(
            length=options["length"], vocabulary=options["vocabulary"]
        ),
        toy_data.batches,
    ),
    "image_transformer": Subject(
        image_program.model,
        lambda options: datasets.natural_image_crops(size=options["height"]),
        images.training_batches,
        (image_transformer.Sizes,),
    ),
    "vq_vae": Subject(
        vq_vae_program.model,
        lambda options: datasets.natural_image_crops(size=options["size"]),
        images.training_batches,
        (vq_vae.Sizes, vq_vae.Codebook),
        image_draws,
    ),
    "audio_vae": Subject(
        audio_program.model,
        lambda options: datasets.synthetic_tones(length=options["length"]),
        audio.training_batches,
        (audio_vae.Sizes,),
        audio_draws,
        audio_network.placement,
    ),
}
