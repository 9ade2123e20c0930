"""Training: models, optimizers, one step, and the loop around it."""
