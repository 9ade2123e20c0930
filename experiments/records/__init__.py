"""What is kept of a run: records, metrics, clocks and where it all came from."""
