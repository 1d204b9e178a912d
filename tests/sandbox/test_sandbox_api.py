"""Call the endpoints that need a token."""

from __future__ import annotations

import asyncio
import hashlib
import io
from typing import Any
from urllib.parse import urlsplit

import pytest

from truecaller_vbc.sandbox import SandboxRules
from truecaller_vbc.sandbox.rules import DeadToken

from .sandbox_wire import ManualClock, bearer, wire

LOGIN_AGAIN = {"slug": "authorization-error", "message": "please login again"}


async def test_labels_are_a_bare_array() -> None:
    """Labels are a JSON array of documented objects."""
    async with wire() as w:
        answer = await w.api(await w.token())

        assert answer.status == 200
        assert [label["label_type"] for label in answer.json] == ["dynamic", "dynamic"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"}])
async def test_missing_token(headers: dict[str, str]) -> None:
    """Without a bearer token every endpoint answers 401."""
    async with wire(SandboxRules(dead_token="500")) as w:
        answer = await w.send("GET", f"{w.account}/labels", headers=headers)

        assert (answer.status, answer.json) == (401, LOGIN_AGAIN)


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("401", 401, LOGIN_AGAIN),
        ("500", 500, {"slug": "internal-server-error", "message": "500/50011 - Failed to parse token"}),
        ("401-flat", 401, {"field": "", "message": "please login again", "status": "error"}),
    ],
)
async def test_dead_token(kind: DeadToken, status: int, body: dict[str, str]) -> None:
    """An unknown token gets the answer that the rules set."""
    async with wire(SandboxRules(dead_token=kind)) as w:
        answer = await w.api("x" * 64)

        assert (answer.status, answer.json) == (status, body)


async def test_token_ends_after_its_lifetime() -> None:
    """A token works for 60 minutes."""
    clock = ManualClock()
    async with wire(clock=clock) as w:
        token = await w.token()
        clock.now += 3599.0
        assert await w.is_live(token)

        clock.now += 1.0
        assert not await w.is_live(token)


async def test_revoke_all() -> None:
    """Revoking ends every token at once, and a new one works."""
    async with wire() as w:
        old = [await w.token(), await w.token()]
        w.sandbox.revoke_all()

        assert [await w.is_live(token) for token in old] == [False, False]
        assert await w.is_live(await w.token())


async def test_other_account_is_forbidden() -> None:
    """A live token does not work for another account."""
    async with wire() as w:
        answer = await w.send("GET", "/clients/other/labels", headers=bearer(await w.token()))

        assert (answer.status, answer.json["slug"]) == (403, "forbidden-error")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2{}/dynamic_call_record"),
        ("POST", "/v2{}/dynamic_call_records"),
        ("GET", "/v2{}/dynamic_call_records"),
        ("POST", "/v3{}/dynamic_call_records"),
        ("GET", "/v3{}/dynamic_call_records"),
        ("GET", "{}/labels"),
        ("GET", "{}/number_management/feature_sets"),
        ("POST", "{}/number_management/feature_sets/x/numbers/publish"),
        ("POST", "{}/number_management/feature_sets/x/numbers/delist"),
        ("GET", "{}/number_management/numbers"),
    ],
)
async def test_every_endpoint_needs_a_token(method: str, path: str) -> None:
    """Every endpoint refuses requests without a token, and with a token of another account."""
    async with wire() as w:
        nobody = await w.send(method, path.format(w.account))
        stranger = await w.send(method, path.format("/clients/other"), headers=bearer(await w.token()))

        assert (nobody.status, nobody.json) == (401, LOGIN_AGAIN)
        assert (stranger.status, stranger.json["slug"]) == (403, "forbidden-error")


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/clients/a/b/c"), ("DELETE", "/clients/a/token")])
async def test_unknown_endpoint(method: str, path: str) -> None:
    """An unknown path or method gets 404 in an E1 envelope."""
    async with wire() as w:
        answer = await w.send(method, path)

        assert (answer.status, answer.json["slug"]) == (404, "not-found")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "DELETE"])
async def test_echo_says_what_was_sent(method: str) -> None:
    """The echo shows method, query, type, length and hash of the request, and no token."""
    body = b"some bytes" * 1000
    async with wire() as w:
        token = await w.token()
        answer = await w.api(token, method, "/echo?a=1", data=body)

    said: dict[str, Any] = answer.json
    assert (said["method"], said["query"], said["body_length"]) == (method, {"a": "1"}, len(body))
    assert said["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert said["content_type"] == "application/octet-stream"
    assert said["headers"]["Authorization"] == "***"
    assert token.encode() not in answer.raw


async def test_body_over_the_limit() -> None:
    """A body of 16 MiB is accepted, and one byte more gets 413."""
    async with wire() as w:
        assert (await w.api(await w.token(), "POST", "/echo", data=io.BytesIO(b"x" * (16 * 1024 * 1024)))).status == 200
        answer = await w.api(await w.token(), "POST", "/echo", data=io.BytesIO(b"x" * (16 * 1024 * 1024 + 1)))

        assert (answer.status, answer.json["slug"]) == (413, "invalid-input")


async def test_header_that_is_not_utf8() -> None:
    """A header with bytes that are not UTF-8 is an unknown token, not a server error."""
    async with wire() as w:
        address = urlsplit(w.sandbox.base_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            b"GET %s/labels HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n" % w.account.encode()
        )
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()

        assert b" 401 " in line
        assert w.sandbox.log[-1].fingerprint is not None
