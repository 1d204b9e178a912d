"""Get, share and refresh the token. Nothing here depends on the API that the token is for."""
