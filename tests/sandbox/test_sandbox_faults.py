"""Inject each kind of fault."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from truecaller_vbc.sandbox import Endpoint, Fault, FaultOptions

from .sandbox_account import Client, account, call_record, plus_record
from .sandbox_wire import PUBLIC, Wire, until, wire

HANG = float("inf")


async def test_status_comes_in_place_of_the_token() -> None:
    """A fault with a status answers with an E1 envelope without a mint, and is then used up."""
    async with wire() as w:
        w.sandbox.fail_next("token", status=503, times=2)
        statuses = [(await w.mint()).status for _ in range(3)]

        assert statuses == [503, 503, 200]
        assert (w.sandbox.mints, w.sandbox.token_requests) == (1, 3)


@pytest.mark.parametrize(
    ("status", "slug"),
    [
        (401, "authorization-error"),
        (422, "invalid-input"),
        (429, "too-many-requests"),
        (599, "internal-server-error"),
    ],
)
async def test_error_status_has_an_envelope(status: int, slug: str) -> None:
    """An error status without a body has an envelope with the matching slug."""
    async with wire() as w:
        w.sandbox.fail_next("token", status=status)
        answer = await w.mint()

        assert (answer.status, answer.json["slug"]) == (status, slug)


@pytest.mark.parametrize(
    ("body", "raw", "content_type"),
    [
        ("<html>ä", "<html>ä".encode(), "text/plain"),
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        ({"token": 5}, b'{"token": 5}', "application/json"),
        ([], b"[]", "application/json"),
        ("", b"", "text/plain"),
    ],
)
async def test_garbage_body(body: Any, raw: bytes, content_type: str) -> None:
    """A body is sent unchanged with status 200, dict and list as JSON, and no token is made."""
    async with wire() as w:
        w.sandbox.fail_next("token", body=body)
        answer = await w.mint()

        assert (answer.status, answer.raw, w.sandbox.mints) == (200, raw, 0)
        assert answer.headers["Content-Type"] == content_type


async def test_headers_and_content_type_win() -> None:
    """Headers of a fault replace Date and Content-Type."""
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    async with wire() as w:
        w.sandbox.fail_next(
            "token",
            status=429,
            body="{}",
            content_type="text/html",
            headers={"Retry-After": "7", "Date": date},
        )
        headers = (await w.mint()).headers

        assert (headers["Retry-After"], headers.getall("Date")) == ("7", [date])
        assert headers["Content-Type"] == "text/html"


async def test_headers_alone_are_added() -> None:
    """Headers without status or body are added to the normal answer."""
    async with wire() as w:
        w.sandbox.fail_next("token", headers={"X-Extra": "1"})
        answer = await w.mint()

        assert (answer.status, answer.headers["X-Extra"], w.sandbox.mints) == (200, "1", 1)


async def test_redirect() -> None:
    """A redirect is a status with a Location and no body."""
    async with wire() as w:
        w.sandbox.fail_next("token", status=307, headers={"Location": "http://elsewhere.invalid/"})
        answer = await w.mint()

        assert (answer.status, answer.headers["Location"], answer.raw) == (
            307,
            "http://elsewhere.invalid/",
            b"",
        )


@pytest.mark.parametrize(("mint", "mints"), [(True, 1), (False, 0), (None, 0)])
async def test_error_after_the_work_was_done(mint: bool | None, mints: int) -> None:
    """With `mint` the token is made, although the answer is an error."""
    async with wire() as w:
        w.sandbox.fail_next("token", status=500, mint=mint)

        assert ((await w.mint()).status, w.sandbox.mints) == (500, mints)


@pytest.mark.parametrize(("fault", "mints"), [({"drop": "before"}, 0), ({"drop": "after"}, 1)])
async def test_dropped_connection(fault: FaultOptions, mints: int) -> None:
    """drop="before" drops the connection without a mint, and drop="after" after a mint."""
    async with wire() as w:
        w.sandbox.fail_next("token", **fault)
        with pytest.raises(aiohttp.ClientConnectionError):
            await w.mint()

        assert (w.sandbox.mints, w.sandbox.log[-1].status) == (mints, None)


@pytest.mark.parametrize("slow", [0.0, 0.02])
async def test_answer_breaks_off_in_the_middle(slow: float) -> None:
    """With drop="mid" exactly half of the body arrives, and the token is made."""
    async with wire() as w:
        w.sandbox.fail_next("token", drop="mid", slow=slow)
        async with w.http.post(f"{w.account}/token", json=w.keys, headers=PUBLIC) as response:
            with pytest.raises(aiohttp.ClientPayloadError, match=r"received (\d+) of") as caught:
                await response.read()

        whole = response.content_length or 0
        assert f"received {whole // 2} of {whole} bytes" in str(caught.value)
        assert (response.status, w.sandbox.mints, w.sandbox.log[-1].status) == (200, 1, None)


async def test_half_of_a_given_body_arrives() -> None:
    """With drop="mid" exactly half of a given body arrives."""
    async with wire() as w:
        w.sandbox.fail_next("token", body=b"12345678", drop="mid")
        async with w.http.post(f"{w.account}/token", json=w.keys) as response:
            got = await response.content.readexactly(4)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()

        assert (got, w.sandbox.mints) == (b"1234", 0)


async def test_slow_body_comes_byte_by_byte() -> None:
    """A slow answer is complete, takes its time, and arrives in many pieces."""
    loop = asyncio.get_running_loop()
    async with wire() as w:
        w.sandbox.fail_next("token", body=b"0123456789", slow=0.1)
        start = loop.time()
        async with w.http.post(f"{w.account}/token") as response:
            pieces = [piece async for piece, _ in response.content.iter_chunks() if piece]

        assert b"".join(pieces) == b"0123456789"
        assert len(pieces) > 3
        assert loop.time() - start >= 0.1


async def test_delay_comes_before_the_work() -> None:
    """During a delay no token is made; afterwards the answer is the normal one."""
    async with wire() as w:
        w.sandbox.fail_next("token", delay=0.05)
        asked = asyncio.create_task(w.mint())
        await until(lambda: w.sandbox.token_requests)
        before = w.sandbox.mints

        assert ((await asked).status, before, w.sandbox.mints) == (200, 0, 1)


async def test_client_that_leaves_does_not_stop_the_work() -> None:
    """The token is made although the client stopped waiting."""
    async with wire() as w:
        w.sandbox.fail_next("token", delay=0.15)
        with pytest.raises(TimeoutError):
            await w.mint(timeout=aiohttp.ClientTimeout(total=0.1))
        await until(lambda: w.sandbox.log)

        assert (w.sandbox.mints, w.sandbox.log[-1].status) == (1, None)


async def test_hang_ends_when_connections_are_dropped() -> None:
    """An endless delay ends without a mint when the connections are dropped."""
    async with wire() as w:
        w.sandbox.fail_next("*", delay=HANG)
        asked = asyncio.create_task(w.mint())
        await until(lambda: w.sandbox.token_requests)
        await asyncio.sleep(0.02)
        assert not asked.done()

        await w.sandbox.drop_connections()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked
        assert (w.sandbox.mints, [record.status for record in w.sandbox.log]) == (0, [None])


async def both(w: Wire) -> list[int]:
    """Return the statuses of an API call and of a token request."""
    return [(await w.api("x")).status, (await w.mint()).status]


@pytest.mark.parametrize(("endpoint", "statuses"), [("token", [401, 503]), ("api", [503, 200]), ("*", [503, 503])])
async def test_faults_keep_to_their_endpoint(endpoint: Endpoint, statuses: list[int]) -> None:
    """A fault affects only the requests of its endpoint."""
    async with wire() as w:
        w.sandbox.fail_next(endpoint, status=503, times=2)

        assert await both(w) == statuses


async def each(client: Client) -> dict[str, int]:
    """Return the status of every endpoint that needs a token."""
    batch = await client.batch(plus_record())
    return {
        "calls": (await client.call(call_record())).status,
        "batch": batch.status,
        "status": (await client.status(batch.json.get("batch_id", "none"))).status,
        "labels": (await client.send("GET", "/labels")).status,
        "feature_sets": (await client.send("GET", "/number_management/feature_sets")).status,
        "publish": (await client.manage("publish", "911234567890")).status,
        "delist": (await client.manage("delist", "911234567890")).status,
        "numbers": (await client.numbers()).status,
    }


@pytest.mark.parametrize(
    "endpoint", ["calls", "status", "labels", "feature_sets", "publish", "delist", "numbers", "batch"]
)
async def test_single_endpoint_fails(endpoint: Endpoint) -> None:
    """A fault or outage of one endpoint affects no other."""
    async with account() as client:
        client.sandbox.fail_next(endpoint, status=503)
        queued = await each(client)
        client.sandbox.set_outage(endpoint, status=500)
        outage = await each(client)
        client.sandbox.end_outage(endpoint)

        unmet = {"status": 404} if endpoint == "batch" else {}  # there is no batch then
        others = dict.fromkeys(queued, 200) | unmet
        assert queued == others | {endpoint: 503}
        assert outage == others | {endpoint: 500}
        assert set((await each(client)).values()) == {200}


async def test_precedence_of_endpoint_names() -> None:
    """The name of an endpoint takes precedence over "api", and that over "*", for queued faults and outages."""
    async with account() as client:
        endpoints: tuple[tuple[Endpoint, int], ...] = (("*", 504), ("api", 503), ("numbers", 502))
        for endpoint, status in endpoints:
            client.sandbox.fail_next(endpoint, status=status)
        assert [(await client.numbers()).status for _ in range(4)] == [502, 503, 504, 200]

        for endpoint, status in endpoints:
            client.sandbox.set_outage(endpoint, status=status)
        client.sandbox.fail_next("*", status=500)
        statuses = [(await client.numbers()).status for _ in range(2)]
        for endpoint in ("numbers", "api"):
            client.sandbox.end_outage(endpoint)
            statuses.append((await client.numbers()).status)
        assert statuses == [500, 502, 503, 504]


async def test_work_is_done_and_the_answer_lost() -> None:
    """A batch whose answer was lost was accepted."""
    async with account() as client:
        client.sandbox.fail_next("batch", drop="after")
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.batch(plus_record())

        assert list(client.sandbox.batches.values()) == [1]


async def test_faults_come_in_order() -> None:
    """Faults are used in order, those of the endpoint before those of "*"."""
    async with wire() as w:
        w.sandbox.fail_next("*", status=504)
        w.sandbox.fail_next("token", status=500)
        w.sandbox.fail_next("token", status=502)
        assert (w.sandbox.faults_left("token"), w.sandbox.faults_left("*"), w.sandbox.faults_left("api")) == (
            2,
            1,
            0,
        )

        assert [(await w.mint()).status for _ in range(4)] == [500, 502, 504, 200]
        assert w.sandbox.faults_left("token") == w.sandbox.faults_left("*") == 0


async def test_faults_can_be_cleared() -> None:
    """Clearing removes queued faults, and keeps outages."""
    async with wire() as w:
        w.sandbox.fail_next("token", status=500, times=3)
        w.sandbox.set_outage("token", status=503)
        w.sandbox.clear_faults()

        assert (await w.mint()).status == 503


async def test_outage_lasts_until_it_is_ended() -> None:
    """An outage affects every request after the queued faults, until it is ended."""
    async with wire() as w:
        w.sandbox.set_outage("token", status=503)
        w.sandbox.fail_next("token", status=500)
        during = [(await w.mint()).status for _ in range(3)]
        w.sandbox.end_outage("token")
        w.sandbox.end_outage("token")

        assert during == [500, 503, 503]
        assert (await w.mint()).status == 200


async def test_outage_of_everything() -> None:
    """An outage of one endpoint takes precedence over an outage of all."""
    async with wire() as w:
        w.sandbox.set_outage("*", status=503)
        w.sandbox.set_outage("token", status=500)

        assert await both(w) == [503, 500]


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"status": 199},
        {"status": 600},
        {"status": "503"},
        {"body": 5},
        {"drop": "never"},
        {"delay": -1},
        {"delay": float("nan")},
        {"slow": HANG},
        {"drop": "before", "status": 500},
        {"drop": "after", "slow": 1.0},
        {"drop": "before", "mint": True},
        {"drop": "after", "mint": False},
        {"delay": 1.0, "mint": False},
        {"status": 500, "mint": 1},
    ],
)
def test_invalid_fault(fault: dict[str, Any]) -> None:
    """Values out of range, or that contradict each other, raise ValueError."""
    with pytest.raises(ValueError, match=r"must be|needs|sends nothing|contradicts"):
        Fault(**fault)


async def test_wrong_endpoint_or_times_is_refused() -> None:
    """An unknown endpoint or a count below 1 raises an error at once."""
    async with wire() as w:
        bad: Any = "tokens"
        for call in (w.sandbox.faults_left, w.sandbox.end_outage):
            with pytest.raises(ValueError, match="endpoint must be one of"):
                call(bad)
        for call in (w.sandbox.fail_next, w.sandbox.set_outage):
            with pytest.raises(ValueError, match="endpoint must be one of"):
                call(bad, status=500)
        with pytest.raises(ValueError, match="times must be"):
            w.sandbox.fail_next("token", status=500, times=0)


def test_fault_repr_shows_no_content() -> None:
    """The repr of a fault shows neither body nor headers."""
    assert "hush" not in repr(Fault(body={"token": "hush"}, headers={"X": "hush"}))
