"""The benchmark's posteriors in other systems, each with its own warm-up."""
