"""Mixtures as latent variables: their components have one support."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import preimages

_DIFFERENT = (
    "has components of different supports; wanted components of one support, a "
    "`bijector=` onto all of them, or a variable for each component"
)


class MixtureSameFamily(tfd.MixtureSameFamily):
    """tfd.MixtureSameFamily with the bijector of its components."""

    def _pad_sample_dims(self, x: tf.Tensor, event_ndims: Any = None) -> tf.Tensor:
        pad = super()._pad_sample_dims
        return preimages.moved(x, lambda part: pad(part, event_ndims))

    def _default_event_space_bijector(self) -> tfb.Bijector | None:
        components = self.components_distribution
        bijector = components.experimental_default_event_space_bijector()
        # Bounds that differ between the components would be a batch.
        if bijector is not None and bijector.experimental_batch_shape().rank != 0:
            raise ValueError(_DIFFERENT)
        return bijector


class Mixture(tfd.Mixture):
    """tfd.Mixture with the bijector of its components."""

    def _default_event_space_bijector(self) -> tfb.Bijector | None:
        bijectors = [
            component.experimental_default_event_space_bijector()
            for component in self.components
        ]
        if any(bijector != bijectors[0] for bijector in bijectors):
            raise ValueError(_DIFFERENT)
        return bijectors[0]
