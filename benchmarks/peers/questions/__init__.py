"""One file for each question, all of the same form: `ask(bench)` gives an `Answer`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..bench import Answer, Bench
from . import (
    cancelled_waiter,
    cold_start,
    expiry_under_load,
    failing_endpoint,
    fresh_token,
    import_time,
    memory,
    processes,
    redirect,
    rejected_tokens,
    requests,
    restarts,
)

QUESTIONS: dict[int, Callable[[Bench], Awaitable[Answer]]] = {
    1: fresh_token.ask,
    2: requests.ask,
    3: cold_start.ask,
    4: expiry_under_load.ask,
    5: cancelled_waiter.ask,
    6: failing_endpoint.ask,
    7: rejected_tokens.ask,
    8: redirect.ask,
    9: restarts.ask,
    10: processes.ask,
    11: memory.ask,
    12: import_time.ask,
}
