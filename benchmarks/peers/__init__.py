"""The field measured: what other libraries do with a short-lived token, asked the same questions in one run."""
