"""The grammar VAE of the paper's appendix B.  Configs name `run`."""

from experiments.programs.grammar_vae.experiment import run

__all__ = ["run"]
