"""Grant tokens under the quota, and answer the token endpoint."""

from __future__ import annotations

import hashlib
import secrets
import string
from collections import deque
from typing import Any, Protocol

import attrs
from aiohttp import web

from truecaller_vbc.credentials import Credentials

from .clock import SandboxClock, iso
from .responses import json_answer, json_object, quota_spent, refusal
from .rules import SandboxRules


class MintWindow(Protocol):
    """Count mints against a limit."""

    def has_room(self, now: float) -> bool:
        """Tell whether one more mint is granted at `now`."""
        ...

    def note(self, now: float) -> None:
        """Count one at `now`, granted or refused."""
        ...

    def free_in(self, now: float) -> float:
        """Return the seconds from `now` until there is room; 0 if there is."""
        ...


class SlidingWindow:
    """Allow `limit` mints or requests in any `length` seconds; one made at t leaves at t + length."""

    def __init__(self, limit: int, length: float) -> None:
        self._length = length
        # Only the newest `limit` can fill the window.
        self._times: deque[float] = deque(maxlen=limit)

    def has_room(self, now: float) -> bool:
        """Tell whether one more mint is granted at `now`."""
        return len(self._times) != self._times.maxlen or self._times[0] + self._length <= now

    def note(self, now: float) -> None:
        """Count one at `now`, granted or refused."""
        self._times.append(now)

    def free_in(self, now: float) -> float:
        """Return the seconds from `now` until there is room; 0 if there is."""
        return 0.0 if self.has_room(now) else self._times[0] + self._length - now

    def is_empty(self, now: float) -> bool:
        """Tell whether everything counted has left by `now`."""
        return not self._times or self._times[-1] + self._length <= now


class FixedWindow:
    """Allow `limit` mints in each of the windows 0..length, length..2*length and so on."""

    def __init__(self, limit: int, length: float) -> None:
        self._limit = limit
        self._length = length
        self._index = 0
        self._count = 0

    def has_room(self, now: float) -> bool:
        """Tell whether one more mint is granted at `now`."""
        return self._index != now // self._length or self._count < self._limit

    def note(self, now: float) -> None:
        """Count one at `now`, granted or refused."""
        index = int(now // self._length)
        self._count = self._count + 1 if index == self._index else 1
        self._index = index

    def free_in(self, now: float) -> float:
        """Return the seconds from `now` until there is room; 0 if there is."""
        return 0.0 if self.has_room(now) else (self._index + 1) * self._length - now


def mint_window(rules: SandboxRules) -> MintWindow:
    """Return the window that `rules` ask for."""
    kind = SlidingWindow if rules.window == "sliding" else FixedWindow
    return kind(rules.max_mints, rules.mint_window)


_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 64


@attrs.frozen
class IssuedToken:
    """Hold a token, when it was made, and when it ends."""

    value: str = attrs.field(repr=lambda _: "***")
    created_at: float
    expires_at: float


class QuotaSpentError(Exception):
    """Refuse a token; the window has room in `free_in` seconds."""

    def __init__(self, free_in: float) -> None:
        super().__init__("maximum number of tokens exceeded")
        self.free_in = free_in


class TokenIssuer:
    """Issue, check and revoke tokens by the rules.

    Attributes:
        mints: how many tokens were made.
    """

    def __init__(self, rules: SandboxRules) -> None:
        self.mints: int = 0
        self._rules = rules
        self._window = mint_window(rules)
        self._live: dict[str, IssuedToken] = {}

    def issue(self, now: float) -> IssuedToken:
        """Return the newest live token if the rules say so, else a new one.

        Raises:
            QuotaSpentError: the window is full.
        """
        return self._reusable(now) or self._mint(now)

    def count_refusal(self, now: float) -> None:
        """Count a refused token request, if the rules say that it takes a place in the window."""
        if self._rules.count_failed:
            self._window.note(now)

    def is_live(self, value: str, now: float) -> bool:
        """Tell whether `value` is a token that has not expired and was not revoked."""
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
            # Count first: a refusal that takes a place also moves the time at which there is room.
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
    """Return 8 hex digits of the SHA-256, which tell two tokens apart and cannot be used to call the API."""
    # aiohttp hands over undecodable header bytes as surrogates.
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _new_value() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


class TokenRoute:
    """Make tokens within the quota, for the right credentials."""

    def __init__(self, rules: SandboxRules, tokens: TokenIssuer, credentials: Credentials, clock: SandboxClock) -> None:
        self._rules = rules
        self._tokens = tokens
        self._credentials = credentials
        self._clock = clock

    async def create(self, request: web.Request) -> web.Response:
        """Answer with a token, or refuse."""
        now = self._clock.elapsed()
        refused = self._refused(request, await request.read())
        if refused is not None:
            self._tokens.count_refusal(now)
            return refused
        try:
            token = self._tokens.issue(now)
        except QuotaSpentError as error:
            return quota_spent(self._rules.over_quota, error.free_in)
        return json_answer(self._shown(token))

    def _refused(self, request: web.Request, raw: bytes) -> web.Response | None:
        if self._rules.require_public_access and request.headers.get("X-Public-Access") != "allow":
            return refusal(400, "header X-Public-Access: allow is required")
        if "Authorization" in request.headers:
            return refusal(400, "the token request must not carry an Authorization header")
        body = json_object(raw)
        if body is None:
            return refusal(400, "the request body must be a JSON object")
        for name in ("key_id", "api_key"):
            if not isinstance(body.get(name), str) or not body[name]:
                return refusal(400, f"{name} is required")
        return None if self._are_right(request, body) else self._rejection()

    def _are_right(self, request: web.Request, body: dict[str, Any]) -> bool:
        known = self._credentials
        return (request.match_info["account"], body["key_id"], body["api_key"]) == (
            known.client_account_id,
            known.key_id,
            known.api_key,
        )

    def _rejection(self) -> web.Response:
        return refusal(self._rules.rejected_credentials, "wrong account id, key_id or api_key")

    def _shown(self, token: IssuedToken) -> dict[str, str]:
        created_at = {
            "iso": iso(self._clock.wall(token.created_at)),
            "garbage": "the day before yesterday",
            "missing": None,
        }[self._rules.created_at]
        shown = {"token": token.value}
        return shown if created_at is None else shown | {"created_at": created_at}
