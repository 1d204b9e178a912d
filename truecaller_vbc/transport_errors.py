"""Which errors of aiohttp mean that not a byte of the request has left."""

from __future__ import annotations

from typing import Final

import aiohttp

NOTHING_WAS_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)
"""Raised before a request is written, whatever it is. (A refused certificate is a `ClientConnectorError`, too.)"""
