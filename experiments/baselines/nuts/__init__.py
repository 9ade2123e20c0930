"""The samplers compared with ours on the NUTS benchmark."""
