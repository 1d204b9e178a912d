"""The endpoints themselves: what each checks, and what it answers when nothing goes wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, cast

from aiohttp import web

from truecaller_vbc.credentials import Credentials

from .answers import dead_token, json_answer, quota_spent, raw_json, refusal
from .clock import SandboxClock
from .faults import Endpoint
from .gate import Handler
from .records import bearer
from .rules import SandboxRules
from .tokens import IssuedToken, QuotaSpentError, TokenBook

# Bytes, since benchmarks call this endpoint: the server's share of their time should stay small.
_SUCCESS: Final = b'{"status_info": {"status": "success", "message": "Record processed successfully"}}'
_INVALID_RECORD: Final = {
    "status_info": {
        "status": "error",
        "field": "",
        "message": "Invalid input: the body must be a JSON object",
    }
}
_LABELS: Final = [
    {
        "id": "255297eb-7f13-44f9-967a-f287ff0f5025",
        "name": "FlowerEra",
        "logo_url": "https://example.com/flower-era.png",
        "category": 10,
        "sub_category": 142,
        "created_by_email": "someone@example.com",
        "created_at": "2025-07-07T06:53:55.402122Z",
        "label_type": "dynamic",
    },
    {
        "id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
        "name": "Flower shop",
        "logo_url": "https://example.com/flower-shop.png",
        "category": 10,
        "sub_category": 142,
        "created_by_email": "someone@example.com",
        "created_at": "2025-07-08T10:11:12.5Z",
        "label_type": "dynamic",
    },
]
_FEWEST_FRACTION_DIGITS = 2


class TokenEndpoint:
    """``POST /clients/{id}/token`` (API reference, "Authentication")."""

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
        body = _json_object(raw)
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


class Api:
    """The authenticated endpoints: only a live token of this account gets in."""

    def __init__(self, rules: SandboxRules, book: TokenBook, account_id: str, clock: SandboxClock) -> None:
        self._rules = rules
        self._book = book
        self._account_id = account_id
        self._clock = clock

    def authenticated(self, handler: Handler) -> Handler:
        """`handler` behind the token check."""

        async def checked(request: web.Request) -> web.Response:
            token = bearer(request)
            if token is None:
                return refusal(401)
            if not self._book.is_live(token, self._clock.elapsed()):
                return dead_token(self._rules.dead_token)
            if request.match_info["account"] != self._account_id:
                return refusal(403)
            return await handler(request)

        return checked


async def labels(_: web.Request) -> web.Response:
    """``GET /clients/{id}/labels`` (API reference, "E")."""
    return json_answer(_LABELS)


async def call_record(request: web.Request) -> web.Response:
    """``POST /v2/clients/{id}/dynamic_call_record`` (API reference, "B")."""
    if _json_object(await request.read()) is None:
        return json_answer(_INVALID_RECORD, 400)
    return raw_json(_SUCCESS)


async def echo(request: web.Request) -> web.Response:
    """What was sent, for tests: method, headers, query, and the body's length and SHA-256."""
    body = await request.read()
    headers = {name: "***" if name.lower() == "authorization" else value for name, value in request.headers.items()}
    return json_answer(
        {
            "method": request.method,
            "headers": headers,
            "query": dict(request.query),
            "content_type": request.headers.get("Content-Type"),
            "body_length": len(body),
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
    )


async def unknown(request: web.Request) -> web.Response:
    """Any path or method that no other endpoint takes."""
    return refusal(404, f"no endpoint for {request.method} {request.path}")


def routes(token: TokenEndpoint, api: Api) -> Iterator[tuple[Endpoint, str, str, Handler]]:
    """Every endpoint: what faults call it, method, path, handler."""
    account = "/clients/{account}"
    yield "token", "POST", f"{account}/token", token.create
    yield "api", "GET", f"{account}/labels", api.authenticated(labels)
    yield "api", "POST", f"/v2{account}/dynamic_call_record", api.authenticated(call_record)
    for method in ("POST", "PUT", "PATCH", "GET", "DELETE"):
        yield "api", method, f"{account}/echo", api.authenticated(echo)
    yield "api", "*", "/{path:.*}", unknown


def iso(wall: datetime) -> str:
    """`wall` in UTC as the documents write it: two to six digits of a second, and a Z."""
    digits = f"{wall.microsecond:06}".rstrip("0").ljust(_FEWEST_FRACTION_DIGITS, "0")
    return f"{wall:%Y-%m-%dT%H:%M:%S}.{digits}Z"


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None
