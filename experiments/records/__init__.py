"""The files of a run: records, metrics, checkpoints, progress and provenance."""
