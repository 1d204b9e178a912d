"""The typed calls of one session."""

from __future__ import annotations

from collections.abc import Callable

from .calls import Calls
from .channel import Channel, Session
from .labels import Labels
from .numbers import Numbers
from .policy import APIPolicy


class TypedAPI:
    """Made when the first typed call is made: a session that only lends its token does not pay for it.

    Args:
        session: to send with.
        policy: how fast, and how often.
        now: the wall clock, in seconds since 1970.
    """

    def __init__(self, session: Session, policy: APIPolicy, now: Callable[[], float]) -> None:
        self._channel = Channel(session, policy)
        self.calls = Calls(self._channel, now)
        self.labels = Labels(self._channel)
        self.numbers = Numbers(self._channel)

    def close(self) -> None:
        """Let nobody wait for a turn any longer."""
        self._channel.close()
