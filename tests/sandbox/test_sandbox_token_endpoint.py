"""Request tokens: checks, quota and the switches of the rules."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from truecaller_vbc.sandbox import SandboxRules
from truecaller_vbc.sandbox.clock import iso
from truecaller_vbc.sandbox.rules import CreatedAt, OverQuota, RejectedStatus, Window

from .sandbox_wire import PUBLIC, Answer, ManualClock, Wire, bearer, wire


def date_of(answer: Answer) -> datetime:
    return parsedate_to_datetime(answer.headers["Date"])


async def test_token_answer_is_as_documented() -> None:
    """A valid request gets 200 with a token and an ISO time in UTC, and nothing else."""
    async with wire() as w:
        answer = await w.mint()

        assert (answer.status, set(answer.json)) == (200, {"token", "created_at"})
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{2,6}Z", answer.json["created_at"])
        assert await w.is_live(answer.json["token"])


@pytest.mark.parametrize(
    ("microsecond", "digits"), [(0, "00"), (720_000, "72"), (500_000, "50"), (123_400, "1234"), (7, "000007")]
)
def test_created_at_has_two_to_six_digits(microsecond: int, digits: str) -> None:
    """The fraction of `created_at` is as long as necessary, but has at least two digits."""
    wall = datetime(2025, 7, 10, 6, 59, 5, microsecond, tzinfo=UTC)

    assert iso(wall) == f"2025-07-10T06:59:05.{digits}Z"


async def test_date_and_created_at_follow_the_clock() -> None:
    """Date and `created_at` follow the injected clock."""
    clock = ManualClock()
    async with wire(clock=clock) as w:
        first = await w.mint()
        clock.now += 3600.0
        second = await w.mint()

    made = [datetime.fromisoformat(answer.json["created_at"]) for answer in (first, second)]
    assert made[1] - made[0] == timedelta(hours=1)
    assert date_of(second) - date_of(first) == timedelta(hours=1)
    assert timedelta(0) <= made[1] - date_of(second) < timedelta(seconds=1)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("headers", [{}, {"X-Public-Access": "deny"}])
async def test_public_access_header(headers: dict[str, str], *, required: bool) -> None:
    """Without `X-Public-Access: allow` the request is refused, unless the rules accept it."""
    async with wire(SandboxRules(require_public_access=required)) as w:
        answer = await w.mint(headers=headers)

        assert (answer.status, w.sandbox.mints) == ((400, 0) if required else (200, 1))
        assert not required or answer.json["slug"] == "invalid-input"


async def test_authorization_header_is_refused() -> None:
    """An Authorization header on the token request is refused."""
    async with wire() as w:
        answer = await w.mint(headers=PUBLIC | bearer("x" * 64))

        assert answer.status == 400
        assert "Authorization" in answer.json["message"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"key"', b"\xff", b"[" * 100_000])
async def test_body_must_be_a_json_object(data: bytes) -> None:
    """A body that is not a JSON object is invalid."""
    async with wire() as w:
        answer = await w.mint(data=data)

        assert (answer.status, answer.json["slug"], w.sandbox.mints) == (400, "invalid-input", 0)


@pytest.mark.parametrize("name", ["key_id", "api_key"])
@pytest.mark.parametrize("value", [None, "", 7, ["x"]])
async def test_key_must_be_a_string(name: str, value: object) -> None:
    """A key that is missing, empty or not a string gets the documented message."""
    async with wire() as w:
        answer = await w.mint(json=w.keys | {name: value})

        assert answer.status == 400
        assert answer.json == {"slug": "invalid-input", "message": f"{name} is required"}


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_wrong_credentials(status: RejectedStatus) -> None:
    """A wrong account, key ID or API key gets the status that the rules set, and a message that names no limit."""
    async with wire(SandboxRules(rejected_credentials=status)) as w:
        answers = [
            await w.mint(json=w.keys | {"key_id": "other"}),
            await w.mint(json=w.keys | {"api_key": "other"}),
            await w.send("POST", "/clients/other/token", json=w.keys, headers=PUBLIC),
        ]

        assert {answer.status for answer in answers} == {status}
        assert not re.search("limit|quota|maximum|exceed|too many", str(answers[0].json))
        assert (w.sandbox.mints, w.sandbox.token_requests) == (0, 3)


@pytest.mark.parametrize("kind", ["429", "429-retry-after", "400", "403"])
async def test_eleventh_token(kind: OverQuota) -> None:
    """The eleventh mint is refused as the rules say, with a message that names the limit."""
    async with wire(SandboxRules(over_quota=kind)) as w:
        tens = [(await w.mint()).status for _ in range(10)]
        answer = await w.mint()

        assert tens == [200] * 10
        assert (answer.status, w.sandbox.mints) == (int(kind[:3]), 10)
        assert answer.json.keys() == {"slug", "message"}
        assert answer.json["message"] == "maximum number of tokens exceeded"
        assert ("Retry-After" in answer.headers) == (kind == "429-retry-after")


@pytest.mark.parametrize(("later", "seconds"), [(0.0, "30"), (20.25, "10"), (29.9, "1")])
async def test_retry_after_is_rounded_up(later: float, seconds: str) -> None:
    """Retry-After is rounded up, so that a mint is possible after it."""
    clock = ManualClock()
    rules = SandboxRules(max_mints=1, mint_window=30.0, over_quota="429-retry-after")
    async with wire(rules, clock=clock) as w:
        await w.mint()
        clock.now += later
        refused = await w.mint()
        clock.now += float(seconds)

        assert refused.headers["Retry-After"] == seconds
        assert (await w.mint()).status == 200


@pytest.mark.parametrize(("window", "status"), [("sliding", 429), ("fixed", 200)])
async def test_window_kind(window: Window, status: int) -> None:
    """A fixed window starts empty at its border, and a sliding one does not."""
    clock = ManualClock()
    async with wire(SandboxRules(window=window, max_mints=1, mint_window=30.0), clock=clock) as w:
        clock.now += 29.0
        await w.mint()
        clock.now += 1.0

        assert (await w.mint()).status == status


@pytest.mark.parametrize(("count_failed", "status"), [(True, 429), (False, 200)])
async def test_failed_requests_may_count(status: int, *, count_failed: bool) -> None:
    """A refused key counts against the quota only if the rules say so."""
    async with wire(SandboxRules(max_mints=1, count_failed=count_failed)) as w:
        await w.mint(json=w.keys | {"api_key": "other"})

        assert (await w.mint()).status == status


@pytest.mark.parametrize(("count_failed", "status"), [(True, 429), (False, 200)])
async def test_refused_mint_may_count(status: int, *, count_failed: bool) -> None:
    """A refused mint delays the next one only if refusals count."""
    clock = ManualClock()
    rules = SandboxRules(max_mints=1, mint_window=30.0, count_failed=count_failed)
    async with wire(rules, clock=clock) as w:
        await w.mint()
        clock.now += 20.0
        await w.mint()
        clock.now += 20.0

        assert (await w.mint()).status == status


@pytest.mark.parametrize("revoke", [True, False])
async def test_new_token_may_revoke_the_old(*, revoke: bool) -> None:
    """A new token ends the older ones only if the rules say so."""
    async with wire(SandboxRules(revoke_previous=revoke)) as w:
        old, new = await w.token(), await w.token()

        assert [await w.is_live(old), await w.is_live(new)] == [not revoke, True]


async def test_token_may_be_handed_out_again() -> None:
    """With `reuse_token` the same token with its first time is returned, without a mint, while it lives long enough."""
    clock = ManualClock()
    async with wire(SandboxRules(reuse_token=True, reuse_until=600.0), clock=clock) as w:
        first = await w.mint()
        clock.now += 2999.0
        again = await w.mint()
        assert (again.json, w.sandbox.mints) == (first.json, 1)

        clock.now += 1.0
        assert (await w.token(), w.sandbox.mints) != (first.json["token"], 1)


async def test_every_request_makes_a_token_by_default() -> None:
    """By default each request makes a token."""
    async with wire() as w:
        assert await w.token() != await w.token()
        assert w.sandbox.mints == 2


@pytest.mark.parametrize(("kind", "expected"), [("garbage", "the day before yesterday"), ("missing", None)])
async def test_invalid_created_at(kind: CreatedAt, expected: str | None) -> None:
    """`created_at` may be invalid or missing, and the token works."""
    async with wire(SandboxRules(created_at=kind)) as w:
        answer = await w.mint()

        assert answer.json.get("created_at") == expected
        assert await w.is_live(answer.json["token"])


async def test_date_header_may_be_absent() -> None:
    """With the switch off, no answer has a Date."""
    async with wire(SandboxRules(date_header=False)) as w:
        answers = [await w.mint(), await w.send("GET", "/nowhere"), await w.api("dead")]

        assert [answer.headers.get("Date") for answer in answers] == [None] * 3


async def taken(w: Wire, path: str) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await w.send("POST", w.account + path)
    return loop.time() - start


@pytest.mark.slow
async def test_latency() -> None:
    """Every answer is delayed by `latency`, and that of the token endpoint by `token_latency` in addition."""
    async with wire(SandboxRules(latency=0.05, token_latency=0.25)) as w:
        assert 0.05 <= await taken(w, "/echo") < 0.3 <= await taken(w, "/token")
