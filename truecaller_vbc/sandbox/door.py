"""What comes before every endpoint behind the token: the token, the account, the rate limit."""

from __future__ import annotations

from aiohttp import web

from .answers import dead_token, refusal
from .api_answers import ApiAnswers, RefusedError
from .clock import SandboxClock
from .gate import Handler
from .pace import Pace
from .records import bearer
from .rules import SandboxRules
from .tokens import TokenBook


class Door:
    """Lets in only live tokens of this account, and each not more often than it may."""

    def __init__(self, rules: SandboxRules, book: TokenBook, account_id: str, clock: SandboxClock) -> None:
        self._rules = rules
        self._answers = ApiAnswers(rules.api)
        self._book = book
        self._account_id = account_id
        self._clock = clock

    def before(self, handler: Handler, pace: Pace | None = None) -> Handler:
        """`handler` behind this door, and behind the rate limit if there is one."""

        async def checked(request: web.Request) -> web.Response:
            now = self._clock.elapsed()
            token = bearer(request)
            if token is None:
                return refusal(401)
            if not self._book.is_live(token, now):
                return dead_token(self._rules.dead_token)
            if request.match_info["account"] != self._account_id:
                return self._answers.error(403)
            free_in = pace.wait(token, now) if pace is not None else 0.0
            if free_in > 0:
                return self._answers.too_many(free_in)
            try:
                return await handler(request)
            except RefusedError as error:
                return self._answers.refused(error)

        return checked
