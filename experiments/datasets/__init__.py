"""Arrays and where they came from; the names that a config may use are listed here."""

from experiments.datasets.covertype import load_covertype

__all__ = ["load_covertype"]
