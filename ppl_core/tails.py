"""Densities far out in their tails, where a dtype overflows or cancels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability.python.internal import special_math

from ppl_core import preimages, special
from ppl_core.bijectors import Between, ReciprocalSoftplus


class HalfCauchy(tfd.HalfCauchy):
    """tfd.HalfCauchy, also where it overflows."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_distance = preimages.log_above(x, self.loc)
        if log_distance is None:
            return super()._log_prob(x)
        log_scale = tf.math.log(self.scale)
        tail = tf.math.softplus(2.0 * (log_distance - log_scale))
        return np.log(2.0 / np.pi) - log_scale - tail


def _with_limit(name: str) -> Callable[..., tf.Tensor]:
    """A method of tfd.StudentT, and tfd.Normal's where df is infinite."""
    own = getattr(tfd.StudentT, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        df = tf.convert_to_tensor(self.df)
        known = tf.get_static_value(df)
        if known is not None and not np.isinf(known).any():
            return own(self, *args, **kwargs)
        is_normal = tf.math.is_inf(df)
        student = tfd.StudentT(
            tf.where(is_normal, tf.ones_like(df), df), self.loc, self.scale
        )
        normal = tfd.Normal(self.loc + tf.zeros_like(df), self.scale)
        # Of its public methods, since Normal has no variance of its own.
        public = "sample" if name == "_sample_n" else name.removeprefix("_")
        parts = [getattr(part, public)(*args, **kwargs) for part in (normal, student)]
        return tf.where(is_normal, *parts)

    return method


class StudentT(tfd.StudentT):
    """tfd.StudentT, also of infinitely many degrees of freedom: a Normal."""

    _log_prob = _with_limit("_log_prob")
    _sample_n = _with_limit("_sample_n")
    _cdf = _with_limit("_cdf")
    _survival_function = _with_limit("_survival_function")
    _quantile = _with_limit("_quantile")
    _entropy = _with_limit("_entropy")
    _variance = _with_limit("_variance")


class HalfStudentT(tfd.HalfStudentT):
    """tfd.HalfStudentT, also where it overflows."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_distance = preimages.log_above(x, self.loc)
        if log_distance is None:
            return super()._log_prob(x)
        df, scale = tf.convert_to_tensor(self.df), tf.convert_to_tensor(self.scale)
        log_z = log_distance - tf.math.log(scale)
        tail = tf.math.softplus(2.0 * log_z - tf.math.log(df))
        at_edge = tfd.StudentT(df, 0.0, scale).log_prob(tf.zeros_like(scale))
        return np.log(2.0) + at_edge - 0.5 * (df + 1.0) * tail


class LogNormal(tfd.LogNormal):
    """tfd.LogNormal, also where it overflows or rounds to 0."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        is_edge = tf.math.is_inf(log_x)
        log_x = tf.where(is_edge, tf.zeros_like(log_x), log_x)
        scale = tf.convert_to_tensor(self.scale)
        z = (log_x - self.loc) / scale
        log_norm = 0.5 * np.log(2.0 * np.pi) + tf.math.log(scale)
        log_prob = -0.5 * z**2 - log_norm - log_x
        return tf.where(is_edge, tf.constant(-np.inf, log_prob.dtype), log_prob)


class InverseGamma(tfd.InverseGamma):
    """tfd.InverseGamma, also where it overflows or rounds to 0."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        a, scale = (
            tf.convert_to_tensor(self.concentration),
            tf.convert_to_tensor(self.scale),
        )
        log_norm = tf.math.lgamma(a) - a * tf.math.log(scale)
        return -(1.0 + a) * log_x - scale * tf.exp(-log_x) - log_norm

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return ReciprocalSoftplus()


class InverseGaussian(tfd.InverseGaussian):
    """tfd.InverseGaussian near 0, with a bijector that works in float64, above 88."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        log_x = preimages.log(x)
        loc = tf.convert_to_tensor(self.loc)
        concentration = tf.convert_to_tensor(self.concentration)
        power = x / loc**2 - 2.0 / loc + tf.exp(-log_x)
        log_norm = 0.5 * (np.log(2.0 * np.pi) - tf.math.log(concentration))
        return -0.5 * concentration * power - 1.5 * log_x - log_norm

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return tfb.Softplus()


class ExponentiallyModifiedGaussian(tfd.ExponentiallyModifiedGaussian):
    """tfd.ExponentiallyModifiedGaussian, also of a large rate or scale."""

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        scale, rate = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.rate)
        z, product = (x - self.loc) / scale, rate * scale
        is_left = z < product
        w = tf.where(is_left, product - z, tf.zeros_like(z))
        log_left = special.log_erfcx(w / np.sqrt(2.0)) - 0.5 * z**2 - np.log(2.0)
        w = tf.where(is_left, tf.zeros_like(z), z - product)
        log_right = special_math.log_ndtr(w) + product * (0.5 * product - z)
        return tf.math.log(rate) + tf.where(is_left, log_left, log_right)


class GeneralizedPareto(tfd.GeneralizedPareto):
    """tfd.GeneralizedPareto with gradients through its bijector far out."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return _AboveOrBetween(self.loc, self.scale, self.concentration)


class _AboveOrBetween(tfb.GeneralizedPareto):
    def _negative_concentration_bijector(self, scale_div_conc: Any = None) -> Any:
        if scale_div_conc is None:
            scale_div_conc = self.scale / self.concentration
        loc = tf.convert_to_tensor(self.loc)
        return Between(loc, loc + tf.abs(scale_div_conc))
