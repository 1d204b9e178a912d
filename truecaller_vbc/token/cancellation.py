"""Whether a cancellation is meant for us: not every ``CancelledError`` is."""

from __future__ import annotations

import asyncio


def heed() -> None:
    """End the running task if somebody wants it to end, and what was awaited has not told it so."""
    if _is_wanted():
        raise asyncio.CancelledError


def let_through(error: BaseException) -> None:
    """Raise a cancellation that is meant for us on; what is none is left to the caller."""
    if isinstance(error, asyncio.CancelledError) and _is_wanted():
        raise error


def _is_wanted() -> bool:
    """Whether somebody wants the running task to end.

    A ``CancelledError`` out of a user's code may only say that something which that code waited for was cancelled; and
    code that swallowed one goes on as if nobody had asked.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
