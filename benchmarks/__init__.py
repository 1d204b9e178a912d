"""Measure the library: speed, memory, long runs, and a comparison with other libraries.

The scripts here need an editable install with the extra `dev` (``pip install -e '.[dev]'``).
"""
