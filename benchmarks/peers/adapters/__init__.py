"""One file for each peer, imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

from ..peer import Peer

NAMES = (
    "bare",
    "double_checked",
    "aiohttp_middleware",
    "gcloud_aio_auth",
    "aiobotocore_credentials",
    "aiobotocore_token",
    "google_auth_aio",
    "azure_core",
    "authlib_httpx",
    "ours",
)


def adapter(name: str) -> type[Peer]:
    """The peer of this name.

    Raises:
        ImportError: its packages are not installed (extra ``bench``).
    """
    found: type[Peer] = import_module(f".{name}", __package__).Adapter
    return found


def versions() -> dict[str, str]:
    """Of every distribution that any peer is made of."""
    return {package: version(package) for name in NAMES for package in adapter(name).packages}
