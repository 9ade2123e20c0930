"""The experiments: datasets, inference, compared systems, their bench and reports."""
