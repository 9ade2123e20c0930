"""Inference over functions, never over programs: a log density in, draws out."""
