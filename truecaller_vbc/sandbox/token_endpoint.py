"""``POST /clients/{id}/token`` (API reference, "Authentication")."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from truecaller_vbc.credentials import Credentials

from .answers import json_answer, quota_spent, refusal
from .bodies import json_object
from .clock import SandboxClock, iso
from .rules import SandboxRules
from .tokens import IssuedToken, QuotaSpentError, TokenBook


class TokenEndpoint:
    """Makes tokens within the quota, for the right credentials."""

    def __init__(self, rules: SandboxRules, book: TokenBook, credentials: Credentials, clock: SandboxClock) -> None:
        self._rules = rules
        self._book = book
        self._credentials = credentials
        self._clock = clock

    async def create(self, request: web.Request) -> web.Response:
        """A token, or the refusal."""
        now = self._clock.elapsed()
        refused = self._refused(request, await request.read())
        if refused is not None:
            self._book.count_refusal(now)
            return refused
        try:
            token = self._book.issue(now)
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
