"""Store the token and its ledger for several sessions or processes."""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from ..secret import hidden
from .file import FileStore
from .memory import MemoryStore
from .protocol import TokenStore
from .redis import RedisStore

__all__ = ["FileStore", "MemoryStore", "RedisStore", "TokenStore", "open_store"]

_KINDS = "memory://, file:///path/token.json, redis://host:6379/0 or rediss:// with TLS"


def open_store(store: TokenStore | str | None) -> TokenStore:
    """Return the given store, the one that a URL names, or a new one in memory for None.

    Raises:
        ConfigurationError: it is neither, or the URL is of an unknown kind.
    """
    if store is None:
        return MemoryStore()
    if isinstance(store, str):
        store = hidden(store)  # the URL may contain a password, and tracebacks can show the locals of their frames
        return _from_url(store)
    if not isinstance(store, TokenStore):
        raise ConfigurationError(
            f"store= must be a URL or an object with read, write and lease, not {type(store).__name__}"
        )
    return store


def _from_url(url: str) -> TokenStore:
    kind = url_kind(url, setting="store=")
    if kind == "redis":
        return RedisStore(url)
    return MemoryStore() if kind == "memory" else FileStore(url_path(url, setting="store="))


def url_kind(url: str, *, setting: str) -> Literal["memory", "file", "redis"]:
    """Return which kind of place a URL names.

    Raises:
        ConfigurationError: the URL, which may contain a password and is not quoted, is of an unknown kind.
    """
    scheme = url[: url.index("://")].lower() if "://" in url else ""
    if scheme in ("redis", "rediss"):
        return "redis"
    if url == "memory://":
        return "memory"
    if scheme == "file":
        return "file"
    raise ConfigurationError(f"{setting} has a URL of an unknown kind: use {_KINDS}")


def url_path(url: str, *, setting: str) -> str:
    """Return the path in a ``file:`` URL.

    Raises:
        ConfigurationError: it has no absolute path.
    """
    if path := _path_in(url):
        return path
    raise ConfigurationError(f"{setting} needs three slashes before an absolute path: file:///var/lib/app/token.json")


def _path_in(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets without an IPv6 address
        return ""
    alone = parts.netloc in ("", "localhost") and not parts.query and not parts.fragment
    return unquote(parts.path) if alone else ""
