"""Engines: how one training step runs on one device, on many, or on a placed graph."""
