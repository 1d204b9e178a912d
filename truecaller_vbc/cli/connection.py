"""The options of every command that opens a session, and how it is opened from the environment."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import attrs
import typer

from ..session import VBCSession
from .store_option import without_secret

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
    """Where a session goes. Credentials come from the environment only, since others can read a command line.

    Args:
        prefix: of the environment variables.
        base_url: in place of the environment's, or the real one.
        store: in place of the environment's.
    """

    prefix: str = PREFIX
    base_url: str | None = None
    store: str | None = None

    def session(self, **options: Any) -> VBCSession:
        """A session that is not open yet.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        given = {name: value for name, value in (("base_url", self.base_url), ("store", self.store)) if value}
        return VBCSession.from_env(self.prefix, **given, **options)
