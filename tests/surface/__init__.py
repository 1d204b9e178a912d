"""Tests of the public names, errors, settings and the life of a session."""
