"""Variational inference by alignment: the paper's Figures 11 and 12."""

from experiments.programs.align_vi.experiment import run

__all__ = ["run"]
