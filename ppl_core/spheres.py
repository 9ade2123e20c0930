"""Distributions on spheres, all of which their bijectors reach."""

from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from ppl_core.bijectors import Angle, Direction


class VonMises(tfd.VonMises):
    """tfd.VonMises on the whole circle."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Angle()


class VonMisesFisher(tfd.VonMisesFisher):
    """tfd.VonMisesFisher on the whole sphere."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Direction()


class PowerSpherical(tfd.PowerSpherical):
    """tfd.PowerSpherical on the whole sphere."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Direction()


class SphericalUniform(tfd.SphericalUniform):
    """tfd.SphericalUniform on the whole sphere."""

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return Direction()
