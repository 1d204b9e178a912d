"""Rejected tokens in real requests: which answers mean a dead token, and which requests are sent again."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from truecaller_vbc import TokenEndpointError, VBCSession
from truecaller_vbc.transport import resendable

from .two_origins import CREDENTIALS, NO_GRACE, Origin

UNPARSABLE = b'{"slug":"internal-server-error","message":"500/50011 - Failed to parse token"}'


async def test_dead_token_is_replaced_and_the_request_replayed(vbc: VBCSession, api: Origin) -> None:
    """A dead token causes one mint and one replay."""
    await vbc.token()
    api.kill_current()
    async with vbc.post("/x", json={"a": 1}) as response:
        assert response.status == 200
    assert api.authorizations == ["Bearer token1", "Bearer token2"]
    assert api.bodies == [b'{"a": 1}'] * 2


async def test_replay_with_another_error_is_the_callers(vbc: VBCSession, api: Origin) -> None:
    """An error of the replay that says nothing about tokens is given to the caller."""
    await vbc.token()
    api.kill_current()
    api.status = 404
    async with vbc.get("/x") as response:
        assert response.status == 404
    assert api.mints == 2


async def test_replay_happens_once(vbc: VBCSession, api: Origin) -> None:
    """If the replay is rejected, too, the caller gets that answer."""
    api.dead = {"token1", "token2"}
    async with vbc.get("/x") as response:
        assert response.status == 401
    assert api.authorizations == ["Bearer token1", "Bearer token2"]
    assert api.mints == 2


async def test_fresh_token_that_is_refused_is_the_callers(api: Origin) -> None:
    """Within the grace period a 401 causes neither a mint nor a replay."""
    api.dead = {"token1"}
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        for _ in range(3):
            async with vbc.get("/x") as response:
                assert response.status == 401
    assert api.mints == 1
    assert api.authorizations == ["Bearer token1"] * 3


async def test_older_token_is_replaced_for_nothing(vbc: VBCSession, api: Origin) -> None:
    """Late 401s of an earlier token are replayed with the current one, without a mint."""
    gate = asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b"a"
        await gate.wait()

    await vbc.token()
    late = asyncio.create_task(vbc.post("/x", data=slow_body()))
    await asyncio.sleep(0.05)
    api.kill_current()
    async with vbc.get("/x"):
        pass
    gate.set()
    (await late).release()
    assert api.mints == 2
    async with vbc.get("/x") as response:
        assert response.status == 200
    assert api.mints == 2


@pytest.mark.parametrize(
    ("answer", "dead"),
    [
        ((401, b"", "text/plain"), True),
        ((401, b'{"field":"","message":"x","status":"error"}', "application/json"), True),
        ((500, UNPARSABLE, "application/json"), True),
        ((500, UNPARSABLE, "text/html"), True),
        ((500, b'{"slug":"internal-server-error","message":"oops"}', "application/json"), False),
        ((500, b"x" * 100_000 + UNPARSABLE, "text/plain"), False),
        ((403, UNPARSABLE, "application/json"), False),
        ((503, UNPARSABLE, "application/json"), False),
    ],
)
async def test_which_answers_mean_a_dead_token(
    vbc: VBCSession, api: Origin, answer: tuple[int, bytes, str], dead: bool
) -> None:
    """A 401 and the documented 500 mean a dead token, other answers do not; the body can still be read."""
    await vbc.token()
    api.kill_current()
    api.dead_answer = answer
    async with vbc.get("/x") as response:
        assert response.status == (200 if dead else answer[0])
        assert await response.read() == (api.body if dead else answer[1])
    assert api.mints == (2 if dead else 1)


async def test_a_permission_that_is_missing_proves_the_token(vbc: VBCSession, api: Origin) -> None:
    """A 403 or 404 shows that the token was accepted, so the next grace period is the shortest."""
    token = await vbc.token()
    api.kill_current()
    api.dead_answer = (403, b"{}", "application/json")
    async with vbc.get("/x") as response:
        assert response.status == 403
    assert vbc._holder.state.current is not None
    assert vbc._holder.state.current.token is token
    assert vbc._holder.state.current.accepted


def _form(**fields: object) -> Callable[[], aiohttp.FormData]:
    def build() -> aiohttp.FormData:
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in fields.items():
            form.add_field(name, value, filename=None if isinstance(value, str) else name)
        return form

    return build


async def _stream() -> AsyncIterator[bytes]:
    yield b"streamed"


BODIES: list[tuple[str, Callable[[Path], Any], bool]] = [
    ("nothing", lambda _: None, True),
    ("bytes", lambda _: b"body", True),
    ("str", lambda _: "body", True),
    ("bytearray", lambda _: bytearray(b"body"), True),
    ("dict", lambda _: {"a": "1", "b": "2"}, True),
    ("pairs", lambda _: [("a", "1"), ("a", "2")], True),
    ("form", lambda _: _form(a="1", b=b"2")(), True),
    ("urlencoded form", lambda _: aiohttp.FormData({"a": "1"}), True),
    ("payload", lambda _: aiohttp.BytesPayload(b"body"), True),
    ("BytesIO", lambda _: io.BytesIO(b"body"), False),
    ("file", lambda path: path.open("rb"), False),
    ("form with a file", lambda path: _form(a="1", b=path.open("rb"))(), False),
    ("dict with a file", lambda path: {"a": path.open("rb")}, False),
    ("stream", lambda _: _stream(), False),
]


@pytest.mark.parametrize(("name", "build", "again"), BODIES, ids=[name for name, _, _ in BODIES])
async def test_which_bodies_are_sent_again(
    vbc: VBCSession, api: Origin, tmp_path: Path, name: str, build: Callable[[Path], Any], again: bool
) -> None:
    """A body that can be sent twice is replayed unchanged; with others the caller gets the 401."""
    path = tmp_path / "file"
    path.write_bytes(b"in a file")
    await vbc.token()
    api.kill_current()
    async with vbc.post("/x", data=build(path)) as response:
        assert response.status == (200 if again else 401)

    received: list[Any] = api.forms or api.bodies
    assert len(received) == (2 if again else 1)
    assert received[0] == received[-1]
    assert api.mints == (2 if again else 1)
    async with vbc.get("/x") as response:
        assert response.status == 200
    assert api.mints == 2


async def test_json_is_sent_again(vbc: VBCSession, api: Origin) -> None:
    """JSON is serialized by the session's own serializer for the replay, too."""
    await vbc.token()
    api.kill_current()
    async with vbc.put("/x", json=[1, "ü"]):
        pass
    assert [json.loads(body) for body in api.bodies] == [[1, "ü"]] * 2


def test_what_is_resendable_is_decided_by_type() -> None:
    """Bodies of unknown types are not sent again."""
    assert resendable(memoryview(b"x"))
    assert not resendable(object())
    assert not resendable(iter([b"x"]))
    assert not resendable([("a", io.BytesIO())])
    assert not resendable([7])


async def test_fifty_callers_with_one_dead_token(vbc: VBCSession, api: Origin) -> None:
    """Many callers with a dead token cause one mint."""
    await vbc.token()
    api.kill_current()

    async def call() -> int:
        async with vbc.post("/x", json={}) as response:
            return response.status

    assert await asyncio.gather(*(call() for _ in range(50))) == [200] * 50
    assert api.mints == 2


async def test_refused_answer_is_released_before_the_mint(api: Origin) -> None:
    """The replacement does not deadlock with one connection in the pool and a long 401."""
    api.dead_answer = (401, b"x" * 2_000_000, "text/plain")
    api.dead = {"token1"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        VBCSession(CREDENTIALS, base_url=api.url, http=http, policy=NO_GRACE) as vbc,
        asyncio.timeout(10),
    ):
        async with vbc.get("/x") as response:
            assert response.status == 200
        api.dead.add("token2")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), middlewares=(vbc.auth,)) as mine:
            async with mine.get(f"{api.url}/x") as response:
                assert response.status == 200


@pytest.mark.parametrize(("status", "posts"), [(303, 1), (302, 1), (307, 4), (308, 4)])
async def test_what_a_redirect_has_done_is_not_done_again(
    vbc: VBCSession, api: Origin, status: int, posts: int
) -> None:
    """A POST that was redirected by a 303 is not replayed after a 401, but the token is dropped."""
    await vbc.token()
    api.kill_current()
    async with vbc.post(f"/redirect?status={status}&to={api.url}/x", data=b"once") as response:
        assert response.status == (401 if posts == 1 else 200)
    assert api.bodies.count(b"once") == posts
    async with vbc.get("/x") as response:
        assert response.status == 200
    assert api.mints == 2


async def test_failed_replacement_is_its_own_error(vbc: VBCSession, api: Origin) -> None:
    """If the replacement fails, this and later callers get its error, without another request."""
    await vbc.token()
    api.kill_current()
    api.fail_token = 503
    for _ in range(2):
        with pytest.raises(TokenEndpointError):
            await vbc.get("/x")
    assert api.authorizations == ["Bearer token1"]
