"""Where tokens and their ledger live."""

from __future__ import annotations

from ..errors import ConfigurationError
from .memory import MemoryStore
from .protocol import TokenStore

__all__ = ["MemoryStore", "TokenStore", "open_store"]


def open_store(store: TokenStore | str | None) -> TokenStore:
    """The store that is meant: one that exists, a URL (``memory://``), or None for one in memory.

    Raises:
        ConfigurationError: it is neither.
    """
    if store is None or store == "memory://":
        return MemoryStore()
    if isinstance(store, str):
        raise ConfigurationError("store= has a URL of an unknown kind: this version knows memory://")
    if not isinstance(store, TokenStore):
        raise ConfigurationError(
            f"store= must be a URL or an object with read, write and lease, not {type(store).__name__}"
        )
    return store
