"""Whether a cancellation is meant for us: not every ``CancelledError`` is."""

from __future__ import annotations

import asyncio


def is_wanted() -> bool:
    """Whether somebody wants the running task to end.

    A ``CancelledError`` out of a user's code may only say that something which that code waited for was cancelled; and
    code that swallowed one goes on as if nobody had asked.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
