"""Compiled samplers as folders of portable programs that run without TensorFlow.

`bin/export` writes a folder, and `run_exported.py` in it runs it: docs/export.md.
"""
