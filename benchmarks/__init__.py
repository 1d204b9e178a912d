"""Measure speed, memory and long runs of the library, and compare it with other libraries.

The scripts here need an editable install with the extra `dev`. The comparison in `peers` also needs other libraries:

    pip install -e '.[dev]' -r benchmarks/requirements.txt
"""
