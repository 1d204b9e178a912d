"""Store the token and its ledger for several sessions or processes."""

from __future__ import annotations

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
    scheme = url[: url.index("://")].lower() if "://" in url else ""
    if scheme in ("redis", "rediss"):
        return RedisStore(url)
    if url == "memory://":
        return MemoryStore()
    if scheme == "file":
        return FileStore(_file_path(url))
    # The URL is not quoted, since it may contain a password.
    raise ConfigurationError(f"store= has a URL of an unknown kind: use {_KINDS}")


def _file_path(url: str) -> str:
    path = _path_in(url)
    if not path:
        raise ConfigurationError("store= needs three slashes before an absolute path: file:///var/lib/app/token.json")
    return path


def _path_in(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets without an IPv6 address
        return ""
    alone = parts.netloc in ("", "localhost") and not parts.query and not parts.fragment
    return unquote(parts.path) if alone else ""
