"""Tables and plots, rendered from records alone."""
