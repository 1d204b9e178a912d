"""Test the typed API."""
