"""Tests of models in web frameworks and of the examples."""
