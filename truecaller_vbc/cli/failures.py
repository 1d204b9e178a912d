"""Turn errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

import aiohttp
import typer

from ..errors import ConfigurationError, InvalidRecordError, StoreError, UnknownOutcomeError, VBCError
from .tables import plain


def quiet() -> None:
    """What goes wrong is told once, by the error line; the log would say it again, and tear the demo's table."""
    logging.getLogger("truecaller_vbc").addHandler(logging.NullHandler())


def leave(error: Exception, code: int) -> NoReturn:
    """Say what is wrong in one line, and leave."""
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)


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
