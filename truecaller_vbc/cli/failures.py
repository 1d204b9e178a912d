"""Turn errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final, NoReturn

import aiohttp
import typer

from ..errors import (
    ConfigurationError,
    CredentialsRejectedError,
    InvalidRecordError,
    StoreError,
    UnknownOutcomeError,
    VBCError,
)
from .output import plain


def silence_log() -> None:
    """Silence the log, since the error line reports the failure and log lines would break the live table."""
    logging.getLogger("truecaller_vbc").addHandler(logging.NullHandler())


def exit_with(error: Exception, code: int) -> NoReturn:
    """Print the error in one line, and exit."""
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)


_MOST: Final = 600
_ATTRIBUTE: Final = re.compile(r"[;:,]? see `?\.\w+`?")

DONE: Final = 0
IN_PART: Final = 1
NOTHING_SENT: Final = 2
STOPPED: Final = 3
INTERRUPTED: Final = 130

ANY_FAILURE: Final = (VBCError, aiohttp.ClientError, TimeoutError)
"""All errors that a typed call raises."""


def describe(error: BaseException) -> str:
    """Return the error in one line, without the request headers that aiohttp's errors may show."""
    if isinstance(error, UnknownOutcomeError):
        told = ": ".join(filter(None, (f"HTTP {error.status}" if error.status else "", error.slug, error.message)))
        return plain(f"the answer was lost{f' ({told})' if told else ''}, so it may have been taken or not", _MOST)
    if isinstance(error, VBCError):
        return plain(_in_words(error), _MOST)
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the API answered HTTP {error.status}, and no more could be understood"
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
        return plain(error, _MOST)
    reason = plain(error, _MOST) or type(error).__name__
    return f"the API cannot be reached ({reason}): check the network and the base URL, and run it again"


def _in_words(error: VBCError) -> str:
    """Return the error's text with a time, and without attributes, in place of the library's names."""
    retry_at: datetime | None = getattr(error, "retry_at", None)
    time = "a while" if retry_at is None else retry_at.astimezone().strftime("%H:%M:%S")
    text = (
        str(error).replace("the ID in the path", "the ID that you gave").replace("again by itself after", "again after")
    )
    return _ATTRIBUTE.sub("", text.replace("retry_at", time))


def exit_code(error: BaseException) -> int:
    """Return the exit code (2 wrong setting or input, 1 unknown outcome, 3 may work later)."""
    if isinstance(error, ConfigurationError | StoreError | InvalidRecordError | CredentialsRejectedError):
        return NOTHING_SENT
    return IN_PART if isinstance(error, UnknownOutcomeError) else STOPPED


def run_to_code(main: Coroutine[Any, Any, int]) -> int:
    """Run a command and return its exit code; print an error in one line and exit."""
    silence_log()
    try:
        return asyncio.run(main)
    except ANY_FAILURE as error:
        exit_with(VBCError(describe(error)), exit_code(error))
    except KeyboardInterrupt:
        return INTERRUPTED
