"""VIMCO on a sigmoid belief network: `run` is what a config names."""

from experiments.programs.vimco.experiment import run

__all__ = ["run"]
