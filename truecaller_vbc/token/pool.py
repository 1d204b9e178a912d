"""Why a connection did not come about: the host, or a pool that had none free. aiohttp has one error for both."""

from __future__ import annotations

import contextlib
from typing import Final, NoReturn

import aiohttp
from yarl import URL

_MOST_SECONDS: Final = 1.0


async def crowded(http: aiohttp.ClientSession, url: URL) -> aiohttp.BaseConnector | None:
    """The session's connector, if a request to `url` would now have to wait until another gives its connection back.

    How many connections are in use is the connector's own affair, so it is asked by a request of another session
    that shares it. A trace ends that request at the first step that tells, before anything is opened or sent.
    """
    connector = http.connector
    if connector is None or connector.closed:
        return None
    waits = False

    async def queued(*_: object) -> NoReturn:
        nonlocal waits
        waits = True
        raise _EnoughSeen

    async def served(*_: object) -> NoReturn:
        raise _EnoughSeen

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(queued)
    trace.on_connection_create_start.append(served)
    trace.on_connection_reuseconn.append(served)
    async with aiohttp.ClientSession(connector=connector, connector_owner=False, trace_configs=[trace]) as probe:
        # Whatever else it comes to, with a connector that knows no traces, it does not say that the pool is full.
        with contextlib.suppress(Exception):
            await probe.head(url, timeout=aiohttp.ClientTimeout(total=_MOST_SECONDS))
    return connector if waits else None


class _EnoughSeen(Exception):  # noqa: N818 - an answer, and never anybody's error
    """The request has come far enough to tell."""
