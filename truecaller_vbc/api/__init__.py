"""Call the typed Verified Business API (calls, labels and numbers).

Built on `VBCSession.request`; it never handles a token. Start from ``vbc.calls``, ``vbc.labels`` and ``vbc.numbers``.
"""

from __future__ import annotations

from collections.abc import Callable

from .calls import Calls
from .client import ApiClient, Session
from .labels import Labels
from .numbers import Numbers
from .policy import APIPolicy


class TypedAPI:
    """Hold the typed calls of one session, created at the first typed call.

    Args:
        session: session that sends the requests.
        policy: rates, retries and timeouts.
        now: the wall clock, in seconds since 1970.
    """

    def __init__(self, session: Session, policy: APIPolicy, now: Callable[[], float]) -> None:
        self._client = ApiClient(session, policy)
        self.calls: Calls = Calls(self._client, now)
        self.labels: Labels = Labels(self._client)
        self.numbers: Numbers = Numbers(self._client)

    @property
    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return self._client.waiting

    @property
    def is_busy(self) -> bool:
        """Tell whether a call waits for its turn or for a retry."""
        return self._client.is_busy

    def close(self) -> None:
        """Fail all waiters with SessionClosedError."""
        self._client.close()
