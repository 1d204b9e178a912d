"""The heart: one token, many callers. It knows nothing of the API that the token is for."""
