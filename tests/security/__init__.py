"""Tests that secrets stay hidden and that input from outside is not trusted."""
