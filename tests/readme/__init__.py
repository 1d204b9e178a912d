"""Tests of readme."""
