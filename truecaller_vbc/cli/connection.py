"""Define the options of every command that opens a session, and open it from the environment."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import parse_qsl

import attrs
import typer

from ..errors import ConfigurationError
from ..session import VBCSession
from .failures import exit_with

_ADVICE: Final = (
    "--store contains a user or a password, and other users can read a command line: export the URL as "
    "TRUECALLER_VBC_STORE instead, without --store"
)


def without_secret(store: str | None) -> str | None:
    """Return the option unchanged; exit at once if it contains credentials."""
    if store is not None and _has_credentials(store):
        exit_with(ConfigurationError(_ADVICE), 2)
    return store


def _has_credentials(url: str) -> bool:
    """Tell whether a URL may contain credentials; parsers stop at a / or # in a password, so search all of it."""
    scheme, separator, rest = url.partition(":")
    if not separator or scheme.lower() == "file":
        return False
    query = rest.partition("?")[2]
    return "@" in rest or any("password" in name.lower() for name, _ in parse_qsl(query, keep_blank_values=True))


Prefix: TypeAlias = Annotated[str, typer.Option(help="Of the environment variables.")]
BaseURL: TypeAlias = Annotated[str | None, typer.Option(help="Instead of the real API.")]
Store: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The store to share a token with; one with a password only by TRUECALLER_VBC_STORE.",
        callback=without_secret,
        is_eager=True,
    ),
]
AsJSON: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document, and nothing else.")]

PREFIX = "TRUECALLER_VBC_"


@attrs.frozen(kw_only=True)
class Connection:
    """Hold the settings of a session, whose credentials come from the environment only.

    Args:
        prefix: of the environment variables.
        base_url: overrides the environment's, or the real one.
        store: in place of the environment's.
    """

    prefix: str = PREFIX
    base_url: str | None = None
    store: str | None = None

    def session(self, **options: Any) -> VBCSession:
        """Return a session that is not open yet.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        given = {name: value for name, value in (("base_url", self.base_url), ("store", self.store)) if value}
        return VBCSession.from_env(self.prefix, **given, **options)
