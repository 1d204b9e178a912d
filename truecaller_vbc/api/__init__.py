"""What the token is for: the typed Verified Business API, one module for each of its pages.

It sits on `VBCSession.request` and never touches a token. Start from ``vbc.calls``, ``vbc.labels`` and ``vbc.numbers``.
"""
