"""Log probabilities of intervals, accurate in both tails, with their gradients."""

from ppl_core.masses.composed import is_lattice, log_mass
from ppl_core.masses.spans import Span, make

__all__ = ["Span", "is_lattice", "log_mass", "make"]
