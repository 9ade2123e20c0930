"""The experiment: train a VQ-VAE on images, evaluate it, sample from it."""

import functools
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import training
from experiments.datasets.images import (
    Images,
    held_out_batches,
    num_held_out_batches,
    training_batches,
)
from experiments.engines.experiment import experiment
from experiments.image_transformer.experiment import NUM_VALUES, grid
from experiments.image_transformer.sampling import check_temperature
from experiments.records.media import Image
from experiments.training import train_step
from experiments.training.checks import check_count, check_memory
from experiments.training.model import Tensors
from experiments.vq_vae import program, quantizer, sampling
from experiments.vq_vae.histogram import histogram_bits_per_dim
from experiments.vq_vae.network import Sizes
from experiments.vq_vae.png import png
from experiments.vq_vae.quantizer import Codebook

COLLAPSED = 0.1  # share of the codes: a lower perplexity gives a warning
SETTLED = 2 * quantizer.RESTART_PATIENCE  # steps, before which perplexity says little


@experiment
def train(
    *,
    seed: int,
    sizes: Sizes,
    codebook: Codebook,
    images: Images,
    batch_size: int,
    num_held_out: int | None = None,
    num_samples: int = 8,
    temperature: float = 1.0,
) -> training.Task:
    """Trains a VQ-VAE; returns the summary.

    Bits per dimension of held-out images are an upper bound of the model's: those of
    the pixels given their nearest codes, and of all these codes under the prior.

    num_held_out: images that evaluation uses, in whole batches; None: all that make
      whole batches.
    num_samples: images sampled, and held-out images reconstructed, at every evaluation;
      0: none.
    temperature: of the sampled codes.

    The other arguments, and what is written, are those of `engines.experiment.run`.  On
    every mesh each device has the whole codebook.  Warns of codebook collapse.  Tran et
    al. (2018), section 4.1.
    """
    model = program.model(sizes, codebook)
    _check_fit(sizes, images)
    check_temperature(temperature)
    check_count("num_samples", num_samples, minimum=0)
    check_memory("num_samples", num_samples, 4 * 3 * images.size**2)
    data = training.process_data(
        images.name,
        batch_size,
        training=functools.partial(training_batches, images, seed=seed),
        held_out=functools.partial(held_out_batches, images),
        num_held_out_batches=num_held_out_batches(images, batch_size, num_held_out),
    )
    return training.Task(
        model=model,
        data=data,
        source=images.source,
        left_out=images.left_out,
        data_kind="images",
        unit="images",
        reference_bits=functools.partial(
            _reference_bits, images, seed, batch_size, data.num_held_out_batches
        ),
        make_show=functools.partial(
            _show, sizes, codebook, images, seed, num_samples, temperature
        ),
        num_shown=num_samples,
    )


def _check_fit(sizes: Sizes, images: Images) -> None:
    if sizes.size != images.size:
        raise ValueError(
            f"size: a model of {sizes.size} x {sizes.size} pixels, wanted the "
            f"{images.size} x {images.size} of {images.name}"
        )
    if sizes.num_values != NUM_VALUES:
        raise ValueError(
            f"num_values: given {sizes.num_values}, wanted the {NUM_VALUES} of images"
        )


def _reference_bits(
    images: Images, seed: int, batch_size: int, num_batches: int
) -> dict[str, float]:
    """Bits/dim of held-out images as PNG, and by histograms of training images."""
    if not num_batches:
        return {}
    trained, held_out = (
        np.concatenate([batch(index)["image"] for index in range(num_batches)])
        for batch in (
            training_batches(images, seed=seed, batch_size=batch_size),
            held_out_batches(images, batch_size=batch_size),
        )
    )
    trained, held_out = trained.astype(np.uint8), held_out.astype(np.uint8)
    png_bits = png(held_out)
    return {
        "png_bits_per_dim": png_bits.files,
        "png_data_bits_per_dim": png_bits.data,
        "histogram_bits_per_dim": histogram_bits_per_dim(trained, held_out),
    }


def _show(
    sizes: Sizes,
    book: Codebook,
    images: Images,
    seed: int,
    num_samples: int,
    temperature: float,
) -> training.Show:
    """Reconstructions below their originals, and samples.

    Every evaluation uses the same seed and images.
    """
    sample_seed = tf.constant(train_step.step_seed(seed, 0))

    # One function for both, so that the images are encoded once.
    @functools.partial(tf.function, autograph=False)
    def usage_and_reconstructions(
        weights: Tensors, image: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        arguments = (weights, sizes, book, image)
        return sampling.code_usage(*arguments), sampling.reconstruct(*arguments)

    if num_samples:
        originals = held_out_batches(images, batch_size=num_samples)(0)["image"]

    def show(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        perplexity = float(quantizer.perplexity(arrays["usage"]))
        if not num_samples:
            _warn_of_collapse(book, int(arrays["steps"]), perplexity)
            return {}
        tensors = {name: tf.constant(array) for name, array in arrays.items()}
        usage, reconstructions = usage_and_reconstructions(
            tensors, tf.constant(originals)
        )
        pairs = np.concatenate([originals, reconstructions.numpy()])
        nearest = float(quantizer.perplexity(usage))
        _warn_of_collapse(book, int(arrays["steps"]), min(perplexity, nearest))
        samples = sampling.sample(
            tensors, sizes, book, sample_seed, num_samples, temperature=temperature
        )
        rows = max(1, int(num_samples**0.5))
        return {
            # That of these images' nearest codes; `perplexity` is of training.
            "nearest_perplexity": nearest,
            "reconstructions": Image(grid(pairs, 2)),
            "samples": Image(grid(samples, rows)),
        }

    return show


def _warn_of_collapse(book: Codebook, steps: int, perplexity: float) -> None:
    """Warns if the codebook's perplexity is low after the first steps."""
    if steps >= SETTLED and perplexity < COLLAPSED * book.num_codes:
        warnings.warn(
            f"codebook: perplexity {perplexity:.1f} of {book.num_codes} codes at step "
            f"{steps}: it has collapsed; raise Codebook.restart_threshold (given "
            f"{book.restart_threshold}), by which unused codes are restarted, or "
            f"Codebook.commitment_cost (given {book.commitment_cost}), or lower the "
            "learning rate",
            RuntimeWarning,
            stacklevel=2,
        )
