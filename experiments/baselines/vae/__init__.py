"""The autoencoders in other frameworks."""
