"""Play Truecaller's side of a scenario, and answer where aiohttp would open a socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from types import SimpleNamespace
from typing import Any, Final, cast

import aiohttp
import attrs
from aioresponses import CallbackResult, aioresponses

from ..token.virtual_time import LoopClock
from .scenario_given import Answer, Server
from .scenario_steps import ChangeAPI, ChangeServer, Revoke

BASE_URL: Final = "https://vbc.example"
ACCOUNT: Final = "account"
PATH: Final = f"/clients/{ACCOUNT}/labels"
_DEAD: Final = {
    "401": (401, {"slug": "authorization-error", "message": "please login again"}),
    "500": (500, {"slug": "internal-server-error", "message": "500/50011 - Failed to parse token"}),
}


@attrs.define
class Made:
    """A token that the server made."""

    at: float
    revoked: bool = False


class ScriptedServer:
    """A server that grants ten tokens in thirty minutes for sixty minutes each, and follows the scenario otherwise."""

    def __init__(self, rules: Server, clock: LoopClock) -> None:
        self.rules = rules
        self.clock = clock
        self.answers = list(rules.answers)
        self.then = rules.then
        self.latency = rules.latency
        self.api_key = rules.api_key
        self.api_latency = rules.latency
        self.statuses: list[int] = []
        self.api_then: int | None = None
        self.made = {value: Made(at) for value, at in rules.tokens.items()}
        self.token_requests: list[float] = []
        self.mints: list[float] = []
        self.over_quota = 0
        self.api_requests: dict[str, int] = {}
        self._names = (f"t{n}" for n in count(1))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer a request of aiohttp."""
        with aioresponses() as wire:
            wire.post(f"{BASE_URL}/clients/{ACCOUNT}/token", callback=self._token, repeat=True)
            for method in (wire.get, wire.post):
                method(re.compile(re.escape(BASE_URL + PATH)), callback=self._api, repeat=True)
            yield

    def change(self, step: ChangeServer | ChangeAPI | Revoke) -> None:
        """Change the answers."""
        if isinstance(step, Revoke):
            for value in self.made if step.tokens is None else step.tokens:
                self.made[value].revoked = True
            return
        if isinstance(step, ChangeAPI):
            self.statuses = self.statuses if step.statuses is None else list(step.statuses)
            self.api_then = step.then or self.api_then
            self.api_latency = self.api_latency if step.latency is None else step.latency
            return
        self.answers = self.answers if step.answers is None else list(step.answers)
        self.then = step.then or self.then
        self.latency = self.latency if step.latency is None else step.latency
        self.api_key = step.api_key or self.api_key

    def has_ended(self, value: str) -> bool:
        """Return whether a token has ended; an unknown one always has."""
        made = self.made.get(value)
        return made is None or self.clock.now() >= made.at + self.rules.token_lifetime

    async def _token(self, url: object, **request: Any) -> CallbackResult:
        self.token_requests.append(self.clock.now())
        answer = self.answers.pop(0) if self.answers else self.then
        if answer.connection == "refused":
            raise aiohttp.ClientConnectorError(_NOWHERE, OSError("refused"))
        if answer.connection == "unreachable":
            await asyncio.sleep(request["timeout"].connect)
            raise aiohttp.ConnectionTimeoutError
        latency = self.latency if answer.latency is None else answer.latency
        await asyncio.sleep(latency / 2)
        result = self._answer(answer, json.loads(request["data"].decode())["api_key"])
        await asyncio.sleep(1e9 if answer.connection == "hangs" else latency / 2)
        if answer.connection == "lost":
            raise aiohttp.ServerDisconnectedError
        return result

    def _answer(self, answer: Answer, api_key: str) -> CallbackResult:
        """Decide the answer when the request arrives."""
        now = self.clock.now()
        headers = {"Date": _http_date(self.clock.wall())} if answer.date else {}
        if api_key != self.api_key:
            return _json(401, {"slug": "authorization-error", "message": "invalid key"}, headers)
        if answer.retry_after is not None:
            headers["Retry-After"] = answer.retry_after
        if answer.retry_after_date is not None:
            headers["Retry-After"] = _http_date(self.clock.wall() + answer.retry_after_date)
        again = answer.token == "same" and self.made
        payload: Any = {}
        if not again and answer.status < 300:
            if sum(at > now - self.rules.mint_window for at in self.mints) >= self.rules.max_mints:
                self.over_quota += 1
                return _json(429, {"slug": "too-many-requests", "message": "too many requests"}, headers)
            self.mints.append(now)
            for made in self.made.values() if self.rules.revoke_previous else ():
                made.revoked = True
            self.made[next(self._names)] = Made(now - answer.age)
        if answer.status < 300 and self.made:
            value, made = list(self.made.items())[-1]
            payload = {"token": value, "created_at": self._stamp(answer, made)}
        body = payload if answer.body is None else answer.body
        text = json.dumps(body) if answer.text is None else answer.text
        return CallbackResult(status=answer.status, headers=headers, body=text + " " * answer.padding)

    def _stamp(self, answer: Answer, made: Made) -> str | None:
        if answer.created_at != "stamp":
            return answer.created_at
        at = datetime.fromtimestamp(self.clock.wall() - self.clock.now() + made.at, UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def _api(self, url: object, **request: Any) -> CallbackResult:
        value = request["headers"]["Authorization"].removeprefix("Bearer ")
        self.api_requests[value] = self.api_requests.get(value, 0) + 1
        latency = self.api_latency
        await asyncio.sleep(latency / 2)
        status: int = 200
        body: dict[str, str] = {}
        if self.statuses:
            status = self.statuses.pop(0)
        elif self.api_then is not None:
            status = self.api_then
        elif self.has_ended(value) or self.made[value].revoked:
            status, body = _DEAD[self.rules.dead_token]
        await asyncio.sleep(latency / 2)
        return _json(status, body, {})


_NOWHERE: Final = cast(Any, SimpleNamespace(host="vbc.example", port=443, ssl=True, is_ssl=True))


def _json(status: int, body: object, headers: dict[str, str]) -> CallbackResult:
    return CallbackResult(status=status, headers=headers, body=json.dumps(body))


def _http_date(wall: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(wall), UTC), usegmt=True)
