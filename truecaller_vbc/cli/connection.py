"""Define the options of every command that opens a session, and open it from the environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs
from platformdirs import user_cache_path

from ..errors import ConfigurationError, VBCError
from ..session import VBCSession
from .failures import exit_with
from .options import option

_ADVICE: Final = "--store has a user or a password, which others could read: export it as TRUECALLER_VBC_STORE instead"


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


_PANEL: Final = "Connection"
PREFIX = "TRUECALLER_VBC_"
_MAX_WAIT: Final = 2.0


def default_store() -> str:
    """Return the URL of the file store in the user's cache directory, by which one-shot commands share a token."""
    directory = user_cache_path("truecaller_vbc")
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A container may have no writable home directory: its commands share nothing, unless --store says where.
    return (directory / "token.json").as_uri() if os.access(directory, os.W_OK) else "memory://"


@attrs.frozen(kw_only=True)
class Connection:
    """Hold the settings of a session, whose credentials come from the environment only.

    Args:
        prefix: of the environment variables.
        base_url: overrides the environment's, or the real one.
        store: overrides the environment's, or the file in the user's cache directory.
    """

    prefix: str = option("Of the environment variables.", _PANEL, default=PREFIX)
    base_url: str | None = option("Instead of the real API.", _PANEL)
    store: str | None = option(
        "Store that shares the token between commands: a file in your cache directory by default, memory:// for "
        "none. A URL with a password goes into TRUECALLER_VBC_STORE.",
        _PANEL,
        callback=without_secret,
        is_eager=True,
    )

    def session(self, **options: Any) -> VBCSession:
        """Return a session that is not open yet.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        given: dict[str, Any] = {name: it for name in ("base_url", "store") if (it := getattr(self, name))}
        if "store" not in given and not os.environ.get(f"{self.prefix}STORE", "").strip():
            given["store"] = default_store()
        return VBCSession.from_env(self.prefix, **given, **options)

    @contextlib.asynccontextmanager
    async def open(self, **options: Any) -> AsyncGenerator[VBCSession]:
        """Yield an open session.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        async with self.session(**options) as vbc:
            await wait_out_failure(vbc)
            yield vbc


async def wait_out_failure(vbc: VBCSession) -> None:
    """Wait a moment if the command before has just failed to get a token, and left that in the store."""
    began = datetime.now(UTC)
    with contextlib.suppress(VBCError):
        await vbc.token()
    retry_at = vbc.status().retry_at
    tried_here = any(entry.at >= began and entry.by.endswith(f":{os.getpid()}") for entry in vbc.ledger())
    if retry_at is not None and not tried_here:
        wait = (retry_at - datetime.now(UTC)).total_seconds()
        if wait < _MAX_WAIT:
            await asyncio.sleep(max(wait, 0.0) + 0.01)
