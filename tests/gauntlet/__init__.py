"""Tests of gauntlet."""
