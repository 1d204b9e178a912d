"""The tokens that the sandbox has made. Pure: time comes as an argument, in seconds since the start."""

from __future__ import annotations

import hashlib
import secrets
import string

import attrs

from .quota import mint_window
from .rules import SandboxRules

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 64


@attrs.frozen
class IssuedToken:
    """A token, when it was made, and when it ends."""

    value: str = attrs.field(repr=lambda _: "***")
    created_at: float
    expires_at: float


class QuotaSpentError(Exception):
    """The window grants no further token; `free_in` seconds from now it will."""

    def __init__(self, free_in: float) -> None:
        super().__init__("maximum number of tokens exceeded")
        self.free_in = free_in


class TokenBook:
    """Issues, knows and revokes tokens by the rules.

    Attributes:
        mints: how many tokens were made.
    """

    def __init__(self, rules: SandboxRules) -> None:
        self.mints = 0
        self._rules = rules
        self._window = mint_window(rules)
        self._live: dict[str, IssuedToken] = {}

    def issue(self, now: float) -> IssuedToken:
        """A token: the newest live one if the rules say so, else a new one.

        Raises:
            QuotaSpentError: the window is full.
        """
        return self._reusable(now) or self._mint(now)

    def count_refusal(self, now: float) -> None:
        """A token request was refused: it takes a place in the window if the rules say so."""
        if self._rules.count_failed:
            self._window.note(now)

    def is_live(self, value: str, now: float) -> bool:
        """Whether `value` is a token that was made, has not expired, and was not revoked."""
        token = self._live.get(value)
        if token is None:
            return False
        if token.expires_at <= now:
            del self._live[value]
            return False
        return True

    def revoke_all(self) -> None:
        """End every token at once."""
        self._live.clear()

    def _reusable(self, now: float) -> IssuedToken | None:
        if not self._rules.reuse_token or not self._live:
            return None
        newest = next(reversed(self._live.values()))
        return newest if newest.expires_at - now > self._rules.reuse_until else None

    def _mint(self, now: float) -> IssuedToken:
        if not self._window.has_room(now):
            # Counted first: a refusal that takes a place also moves the moment at which there is room.
            self.count_refusal(now)
            raise QuotaSpentError(self._window.free_in(now))
        self._window.note(now)
        self.mints += 1
        self._forget_old(now)
        token = IssuedToken(_new_value(), now, now + self._rules.token_lifetime)
        self._live[token.value] = token
        return token

    def _forget_old(self, now: float) -> None:
        if self._rules.revoke_previous:
            self._live.clear()
        self._live = {value: token for value, token in self._live.items() if token.expires_at > now}


def fingerprint(value: str) -> str:
    """8 hex digits of SHA-256: enough to tell two tokens apart, nothing to call the API with."""
    # aiohttp hands over undecodable header bytes as surrogates.
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _new_value() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
