"""The grammar VAE of the paper's appendix B."""
