"""Turn errors into words and an exit code, and say whether waiting may help."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import datetime
from typing import Final, NoReturn

import aiohttp
import typer

from ..api.foreign_text import plain
from ..errors import (
    APIConnectionError,
    ConfigurationError,
    CredentialsRejectedError,
    ForbiddenError,
    InvalidRecordError,
    RateLimitedError,
    ServerError,
    StoreError,
    TokenError,
    UnauthorizedError,
    UnknownOutcomeError,
    VBCError,
)
from .output import print_json

_MOST: Final = 600

DONE: Final = 0
IN_PART: Final = 1
NOTHING_SENT: Final = 2
STOPPED: Final = 3
INTERRUPTED: Final = 130

ANY_FAILURE: Final = (VBCError, aiohttp.ClientError, OSError)
"""All errors that a typed call or a file raises."""


# What the library tells programmers, in the words of the command line.
_WORDS: Final = (
    (re.compile(r"\bit (?:will be|is) tried again(?: automatically)? after retry_at"), "run it again after retry_at"),
    (re.compile(r"[;:,] see \.\w+(?:(?:, and |, | and )(?:\.\w+|__\w+__))*"), ""),
    (re.compile(r"\band call again\b"), "and run it again"),
    (re.compile(r"\bbase_url=?"), "--base-url"),
    (re.compile(r"\bthe ID in the path\b"), "the ID that you gave"),
    (re.compile(r"\bcopy it into one\b"), "give - and pipe it in"),
)


def describe(error: BaseException) -> str:
    """Return the error in the words of the command line, and without a request's headers."""
    if isinstance(error, UnknownOutcomeError):
        told = ": ".join(filter(None, (f"HTTP {error.status}" if error.status else "", error.slug, error.message)))
        return plain(f"the answer was lost{f' ({told})' if told else ''}, so it may have been taken or not", _MOST)
    if isinstance(error, VBCError):
        text = str(error)
        for words, others in _WORDS:
            text = words.sub(others, text)
        text = text.replace("retry_at", _clock_time(getattr(error, "retry_at", None)))
        return "\n".join(plain(line, _MOST) for line in text.splitlines())
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the API answered HTTP {error.status}, and no more could be understood"
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError | TimeoutError):
        return plain(error, _MOST)
    reason = plain(error, _MOST) or type(error).__name__
    return f"the API cannot be reached ({reason}): check the network and the base URL, and run it again"


def port_in_use(port: int, error: OSError) -> ConfigurationError:
    """Return the error about a port that cannot be listened on."""
    return ConfigurationError(f"--port {port} cannot be used ({error.strerror}): take another, or 0")


def _clock_time(moment: datetime | None) -> str:
    """Return a time of the local day, with the date if that is another."""
    if moment is None:
        return "a minute"
    local = moment.astimezone()
    is_today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


_WRONG_SETTING: Final = (
    ConfigurationError,
    CredentialsRejectedError,
    ForbiddenError,
    InvalidRecordError,
    StoreError,
    UnauthorizedError,
)


def exit_code(error: BaseException) -> int:
    """Return the exit code (2 wrong setting, credentials or input, 1 unknown outcome, 3 may work later)."""
    if isinstance(error, _WRONG_SETTING):
        return NOTHING_SENT
    return IN_PART if isinstance(error, UnknownOutcomeError) else STOPPED


def exit_with(error: BaseException, code: int, *, as_json: bool = False) -> NoReturn:
    """Print the error, with `as_json` as a document as well, and exit."""
    text = describe(error)
    if as_json:
        print_json({"exit_code": code, "error": text})
    typer.echo(f"error: {text}", err=True)
    sys.exit(code)


_PASSING: Final = (RateLimitedError, ServerError, TokenError, UnknownOutcomeError)


def is_temporary(error: BaseException) -> bool:
    """Tell whether waiting may help."""
    if isinstance(error, APIConnectionError):
        return error.retryable
    return isinstance(error, _PASSING) and not isinstance(error, CredentialsRejectedError)


def pause_after(error: Exception, pause: float, last: float) -> float:
    """Return how long to wait before the API is asked again: `pause`, or as long as the API wants.

    Raises:
        Exception: `error`, if it will not pass, or not before `last`, a time of the loop.
    """
    if isinstance(error, TokenError) and error.retry_at is not None:
        pause = max(pause, error.retry_at.timestamp() - time.time())
    pause = max(pause, getattr(error, "retry_after", None) or 0.0)
    if not is_temporary(error) or asyncio.get_running_loop().time() + pause > last:
        raise error
    return pause
