"""``--store``, without a secret in it: others can read a command line."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from ..errors import ConfigurationError
from .exits import leave

_ADVICE: Final = (
    "--store has a user or a password in it, and others can read a command line: export the URL as "
    "TRUECALLER_VBC_STORE instead, without --store (the demo does not read it, and starts a Redis of its own with "
    "--store redis)"
)


def without_secret(store: str | None) -> str | None:
    """The option as it is; one that has credentials in it ends the program before anything else happens."""
    if store is not None and _has_credentials(store):
        leave(ConfigurationError(_ADVICE), 2)
    return store


def _has_credentials(url: str) -> bool:
    """Whether there may be any: a password with a / or a # in it is no part of what a parser takes for the host."""
    scheme, separator, rest = url.partition(":")
    if not separator or scheme.lower() == "file":
        return False
    query = rest.partition("?")[2]
    return "@" in rest or any("password" in name.lower() for name, _ in parse_qsl(query, keep_blank_values=True))
