"""Compare this library with other ways to keep a short-lived token, by the same questions in one run."""
