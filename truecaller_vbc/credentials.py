"""Define the API key of an account, and read it from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

from .errors import ConfigurationError
from .secret import MASK, Secret, hidden

_ACCOUNT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_VISIBLE = re.compile(r"[^\s\x00-\x1f\x7f\ud800-\udfff]+")


@attrs.define(frozen=True, init=False, repr=False)
class Credentials:
    """One API key of one Truecaller for Business account.

    The three values are those of the console's "Manage API Keys" page (API reference, "Authentication").

    Args:
        client_account_id: the account's ID, a UUID. It becomes a part of the URL, so only letters, digits,
            ``-`` and ``_`` are allowed.
        key_id: the "Key ID".
        api_key: the "Secret API Key", which no repr, log record or error of this library ever shows.

    Raises:
        ConfigurationError: a value is missing, blank, not a string, or has a character that it cannot have.
    """

    client_account_id: str
    key_id: str
    api_key: str

    def __init__(self, client_account_id: str, key_id: str, api_key: str) -> None:
        # Masked before anything can be raised, since a traceback that captures locals prints the parameters. All three,
        # since they may have been mixed up.
        client_account_id, key_id, api_key = hidden(client_account_id), hidden(key_id), hidden(api_key)
        _check("client_account_id", client_account_id)
        _check("key_id", key_id)
        _check("api_key", api_key)
        self.__attrs_init__(str(client_account_id), str(key_id), api_key)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    def __repr__(self) -> str:
        # `__init__` may have raised before the attributes were set, and a repr must never raise.
        account, key_id = getattr(self, "client_account_id", None), getattr(self, "key_id", None)
        return f"Credentials(client_account_id={account!r}, key_id={key_id!r}, api_key={MASK})"

    @classmethod
    def from_env(cls, prefix: str = "TRUECALLER_VBC_") -> Credentials:
        """Read the credentials from ``{prefix}CLIENT_ACCOUNT_ID``, ``{prefix}KEY_ID`` and ``{prefix}API_KEY``.

        Raises:
            ConfigurationError: names every variable that is missing or blank, or the value that is wrong.
        """
        names = [prefix + name for name in ("CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY")]
        values = [Secret(os.environ.get(name, "").strip()) for name in names]
        missing = [name for name, value in zip(names, values, strict=True) if not value]
        if missing:
            raise ConfigurationError(
                f"{' and '.join(missing)} not set: export the values shown in the console under Manage API Keys"
            )
        return cls(*values)


CredentialsSource: TypeAlias = Credentials | Callable[[], Awaitable[Credentials]]
"""Credentials, or an async callable that fetches them, from a vault for example."""


def _check(name: str, value: object) -> None:
    where = f"Credentials({name}=...)"
    if not isinstance(value, str):
        raise ConfigurationError(f"{where} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise ConfigurationError(f"{where} is blank: take it from the console under Manage API Keys")
    if name == "client_account_id" and not _ACCOUNT_ID.fullmatch(value):
        raise ConfigurationError(
            f"{where} may have only letters, digits, '-' and '_' (it becomes a part of the URL): "
            "copy the account's UUID from the console under Manage API Keys"
        )
    if not _VISIBLE.fullmatch(value):
        raise ConfigurationError(f"{where} has white space or control characters in it: copy it again without them")
