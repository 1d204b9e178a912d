"""Tests of surface."""
