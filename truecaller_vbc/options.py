"""Define the keyword arguments of requests and of `VBCSession.from_env`, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
from typing_extensions import TypedDict
from yarl import URL

from .credentials import CredentialsSource
from .stores import TokenStore
from .token.clock import Clock
from .token.events import TokenEvent
from .token.policy import TokenPolicy

if TYPE_CHECKING:
    from aiohttp.typedefs import LooseCookies, LooseHeaders, Query

    from .api.policy import APIPolicy


# Closed classes: ty takes an unknown keyword for one of the extra keys that others may have.
class RequestOptions(TypedDict, total=False, closed=True):
    """Name the keyword arguments of aiohttp that `VBCSession.request` and its shorthands pass on."""

    params: Query
    data: Any
    json: Any
    cookies: LooseCookies | None
    headers: LooseHeaders | None
    skip_auto_headers: Iterable[str] | None
    auth: aiohttp.BasicAuth | None
    allow_redirects: bool
    max_redirects: int
    compress: str | bool | None
    chunked: bool | None
    expect100: bool
    raise_for_status: bool | Callable[[aiohttp.ClientResponse], Awaitable[None]] | None
    read_until_eof: bool
    proxy: str | URL | None
    proxy_auth: aiohttp.BasicAuth | None
    timeout: aiohttp.ClientTimeout | None
    ssl: SSLContext | bool | aiohttp.Fingerprint
    server_hostname: str | None
    proxy_headers: LooseHeaders | None
    trace_request_ctx: object
    read_bufsize: int | None
    auto_decompress: bool | None
    max_line_size: int | None
    max_field_size: int | None
    middlewares: Sequence[aiohttp.ClientMiddlewareType] | None


class _CommonOptions(TypedDict, total=False):
    base_url: str | URL
    policy: TokenPolicy | None
    on_event: Callable[[TokenEvent], object] | None
    allow_http: bool
    clock: Clock | None
    refresh: Literal["ahead", "on_demand"]
    api_policy: APIPolicy | None


class SharedOptions(_CommonOptions, total=False, closed=True):
    """Name the arguments of `VBCSession` that many accounts can share, which `VBCAccounts` takes."""


class SessionOptions(_CommonOptions, total=False, closed=True):
    """Name the arguments of `VBCSession` that `VBCSession.from_env` takes."""

    credentials: CredentialsSource
    http: aiohttp.ClientSession | None
    store: TokenStore | str | None
