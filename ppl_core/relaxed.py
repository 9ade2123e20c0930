"""Relaxed Bernoulli and categorical variables, also where a part rounds to 0 or 1."""

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core import preimages
from ppl_core.bijectors import Between, LogStickBreaking, StickBreaking


class RelaxedBernoulli(tfd.RelaxedBernoulli):
    """tfd.RelaxedBernoulli, also where it rounds to 0 or 1."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        temperature = tf.convert_to_tensor(self.temperature)
        log_x, log1m_x = preimages.log(x), preimages.log1m(x)
        # Maddison, Mnih and Teh (2017), appendix C.3.2.
        z = temperature * (log_x - log1m_x) - self._logits_parameter_no_checks()
        log_logistic = -tf.abs(z) - 2.0 * tf.math.softplus(-tf.abs(z))
        return tf.math.log(temperature) + log_logistic - log_x - log1m_x

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Between()


class RelaxedOneHotCategorical(tfd.RelaxedOneHotCategorical):
    """tfd.RelaxedOneHotCategorical, also where a part rounds to 0."""

    def _log_prob(self, x: tf.Tensor, **_: Any) -> tf.Tensor:
        log_x = preimages.log(x)
        return self.distribution.log_prob(log_x) - tf.reduce_sum(log_x, axis=-1)

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return StickBreaking()


class ExpRelaxedOneHotCategorical(tfd.ExpRelaxedOneHotCategorical):
    """tfd.ExpRelaxedOneHotCategorical, also of parts that are far below 1."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return LogStickBreaking()
