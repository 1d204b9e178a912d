"""List the aiohttp errors that are raised before any byte of the request is sent, and those that a retry cannot fix."""

from __future__ import annotations

from typing import Final

import aiohttp

NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)
"""Errors that are raised before a request is written. (A rejected certificate is a `ClientConnectorError`, too.)"""

NOT_RETRYABLE: Final = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)
"""Errors that the same request would get again."""
