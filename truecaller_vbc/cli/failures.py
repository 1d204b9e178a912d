"""What goes wrong between a command and the API: one line, and an exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import aiohttp

from ..errors import ConfigurationError, InvalidRecordError, StoreError, UnknownOutcomeError, VBCError
from .exits import leave, quiet
from .text import plain

_MOST: Final = 600

DONE: Final = 0
IN_PART: Final = 1
NOTHING_SENT: Final = 2
STOPPED: Final = 3
INTERRUPTED: Final = 130

ANY_FAILURE: Final = (VBCError, aiohttp.ClientError, TimeoutError)
"""All that a typed call raises."""


def said(error: BaseException) -> str:
    """The error in one line, without what aiohttp's own may show of a request's headers."""
    if isinstance(error, VBCError):
        return plain(error, _MOST)
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the API answered HTTP {error.status}, and no more could be understood"
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
        return plain(error, _MOST)
    reason = plain(error, _MOST) or type(error).__name__
    return f"the API cannot be reached ({reason}): check the network and the base URL, and run it again"


def exit_code(error: BaseException) -> int:
    """2: a setting or the input is wrong, 1: nobody knows whether it was done, 3: it may work later."""
    if isinstance(error, ConfigurationError | StoreError | InvalidRecordError):
        return NOTHING_SENT
    return IN_PART if isinstance(error, UnknownOutcomeError) else STOPPED


def run_to_code(main: Coroutine[Any, Any, int]) -> int:
    """Run a command to its exit code; a failure becomes one line and leaves."""
    quiet()
    try:
        return asyncio.run(main)
    except ANY_FAILURE as error:
        leave(VBCError(said(error)), exit_code(error))
    except KeyboardInterrupt:
        return INTERRUPTED
