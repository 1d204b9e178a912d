"""Use the public names as a program would. Type checkers check this file; it is never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Unpack, assert_never, assert_type

import aiohttp
from yarl import URL

from truecaller_vbc import (
    AccessToken,
    AcknowledgedChunk,
    APIError,
    APIPolicy,
    Batch,
    BatchStatus,
    BusinessNumber,
    CallRecord,
    ChunkResult,
    Credentials,
    CredentialsRejectedError,
    FailedChunk,
    FileStore,
    InvalidChunk,
    Label,
    LedgerEntry,
    MemoryStore,
    MintQuotaExhaustedError,
    Problem,
    PushResult,
    RateLimitedError,
    RecordStatus,
    RedisStore,
    RefreshFailed,
    RequestOptions,
    SessionOptions,
    Status,
    TokenError,
    TokenEvent,
    TokenMinted,
    TokenPolicy,
    TokenStatus,
    TokenStore,
    VBCSession,
)
from truecaller_vbc.transport import RequestContext


async def the_first_program() -> None:
    async with VBCSession(Credentials.from_env()) as vbc:
        assert_type(vbc, VBCSession)
        assert_type(await vbc.token(), AccessToken)
        assert_type(await vbc.warm_up(), AccessToken)
        assert_type(vbc.client_account_id, str | None)
        async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
            assert_type(response, aiohttp.ClientResponse)
        assert_type(await vbc.post(URL("/x"), json={"a": 1}), aiohttp.ClientResponse)
        assert_type(await vbc.request("PUT", "/x", data=b"", headers={"X-A": "b"}), aiohttp.ClientResponse)
        await vbc.patch("/x")
        await vbc.delete("/x", timeout=aiohttp.ClientTimeout(total=5))
    await vbc.close()


async def a_vault() -> Credentials:
    return Credentials(client_account_id="account", key_id="key", api_key="secret")


def watch(event: TokenEvent) -> None:
    match event:
        case TokenMinted(fingerprint=fingerprint, mints_left=left):
            assert_type(fingerprint, str)
            assert_type(left, int)
        case RefreshFailed(error=error):
            assert_type(error, TokenError)
        case _:
            pass


async def every_setting(http: aiohttp.ClientSession, store: TokenStore) -> None:
    policy = TokenPolicy(lifetime=timedelta(minutes=30), max_mints=5, reserve_mints=1)
    assert_type(policy.scaled(1 / 1200), TokenPolicy)
    sessions: Sequence[VBCSession] = (
        VBCSession(a_vault),
        VBCSession(await a_vault(), base_url="https://vbc.example", store="memory://", policy=policy, http=http),
        VBCSession(a_vault, base_url=URL("https://vbc.example"), store=store, on_event=watch, allow_http=True),
        VBCSession(a_vault, store=MemoryStore()),
        VBCSession(a_vault, store=FileStore("/run/token.json")),
        VBCSession(a_vault, store=RedisStore("redis://localhost/0")),
        VBCSession.from_env(),
        VBCSession.from_env("MINE_", policy=policy),
    )
    for session in sessions:
        async with session, aiohttp.ClientSession(middlewares=(session.auth,)) as mine:
            await mine.get(session.base_url / "x")


def looking(vbc: VBCSession) -> None:
    token = vbc.current_token
    assert_type(token, AccessToken | None)
    if token is not None:
        assert_type(token.created_at, datetime)
        assert_type(token.expires_at, datetime)
        assert_type((token.value, token.authorization, token.fingerprint), tuple[str, str, str])
    status = vbc.status()
    assert_type(status, TokenStatus)
    assert_type(status.retry_at, datetime | None)
    assert_type(status.last_error, TokenError | None)
    assert_type((status.generation, status.mints_in_window, status.mints_left), tuple[int, int, int])
    fresh: bool = status.state == "fresh"
    assert_type(fresh, bool)
    assert_type(vbc.ledger(), tuple[LedgerEntry, ...])


async def typed(vbc: VBCSession, records: AsyncIterator[CallRecord]) -> None:
    record = CallRecord(
        caller_number="+911234567890",
        receiver_number="+919876543210",
        starts_at=datetime.now(UTC),
        ends_at=1_790_000_000_000,
        label_id=None,
    )
    assert_type((record.starts_at, record.ends_at), tuple[int, int])
    assert_type(await vbc.calls.push(record), PushResult)
    batch = await vbc.calls.push_batch([record], version="v2")
    assert_type(batch, Batch)
    status = await vbc.calls.wait_for_batch(batch, timeout=timedelta(minutes=5))
    assert_type(status, BatchStatus)
    assert_type(status.data[0].status, Status)
    assert_type(status.find(record), RecordStatus | None)
    async for result in vbc.calls.push_all(records, on_progress=lambda progress: print(progress.acknowledged)):
        assert_type(result.batch, Batch | None)
        assert_type(result.error, Exception | None)
        if result.outcome == "acknowledged":
            assert_type(result.batch, Batch)
        elif result.outcome == "invalid":
            assert_type(result.error, None)
        else:
            assert_type(result.error, Exception)
        follow(result)
    async for mapped in vbc.calls.push_all([{"caller_number": "+911234567890"}, record]):
        assert_type(mapped.chunk.invalid, tuple[Problem, ...])
    assert_type(await vbc.labels.list(), list[Label])
    async for number in vbc.numbers.numbers(feature_set_id="x"):
        assert_type(number, BusinessNumber)
    async for feature_set in vbc.numbers.feature_sets():
        assert_type((await vbc.numbers.publish(feature_set.id, ["+911234567890"])).accepted, frozenset[str])
    assert_type(await vbc.numbers.wait_until_listed({"+911234567890"}, timeout=5), dict[str, BusinessNumber])
    VBCSession.from_env(api_policy=APIPolicy(realtime_rate=None).scaled(1 / 60))


def follow(result: ChunkResult) -> str:
    match result:
        case AcknowledgedChunk(batch=batch):
            return batch.batch_id
        case FailedChunk(error=error):
            return str(error)
        case InvalidChunk(chunk=chunk):
            return str(chunk.invalid[0])
        case _:
            assert_never(result)


def durations() -> None:
    assert_type(TokenPolicy(lifetime=3600, refresh_ahead=0.5 * 60).lifetime, timedelta)
    assert_type(APIPolicy(timeout=timedelta(seconds=1), poll_most=60).timeout, timedelta)


class MySession(VBCSession):
    """A session with a method of its own."""

    def get(self, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        return super().get(path, **kwargs)


def my_session(**options: Unpack[SessionOptions]) -> VBCSession:
    return MySession.from_env(**options)


async def failing(vbc: VBCSession) -> datetime | float | None:
    try:
        await vbc.token()
    except (MintQuotaExhaustedError, CredentialsRejectedError) as error:
        assert_type(error.retry_at, datetime | None)
        return error.retry_at
    except RateLimitedError as error:
        return error.retry_after
    except APIError as error:
        assert_type((error.status, error.slug), tuple[int, str | None])
    return None
