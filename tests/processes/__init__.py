"""Tests of processes that end, fork, or are cancelled in the middle of a mint."""
