"""Test retries and errors of typed calls for anything that a server may do."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from truecaller_vbc import (
    APIConnectionError,
    APIError,
    APIPolicy,
    BadRequestError,
    Credentials,
    ForbiddenError,
    InvalidRecordError,
    RateLimitedError,
    ServerError,
    SessionClosedError,
    TokenEndpointError,
    UnknownOutcomeError,
    VBCError,
    VBCSession,
)
from truecaller_vbc.api.client import ApiClient, ApiRequest, _without_headers
from truecaller_vbc.sandbox import Sandbox

from ..token.virtual_time import run_virtual
from .raw_server import raw_server
from .sandbox_session import FAST, FEATURE_SET, count_requests, record, sandbox_session

NUMBERS = ["+911234567890", "+911234567891"]
CALLS: dict[str, Callable[[VBCSession], Awaitable[Any]]] = {
    "calls": lambda vbc: vbc.calls.push(record()),
    "batch": lambda vbc: vbc.calls.push_batch([record(), record(1)]),
    "status": lambda vbc: vbc.calls.batch_status("x"),
    "labels": lambda vbc: vbc.labels.list(),
    "feature_sets": lambda vbc: _collect(vbc.numbers.feature_sets()),
    "numbers": lambda vbc: _collect(vbc.numbers.numbers()),
    "publish": lambda vbc: vbc.numbers.publish(FEATURE_SET, NUMBERS),
    "delist": lambda vbc: vbc.numbers.delist(FEATURE_SET, NUMBERS),
}
HOST = ConnectionKey("host", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
REQUEST = aiohttp.RequestInfo(URL("https://host"), "CONNECT", CIMultiDictProxy(CIMultiDict({"Authorization": "x"})))
ONCE = ("batch", "publish", "delist")
REPEATABLE = tuple(name for name in CALLS if name not in (*ONCE, "status"))


async def _collect(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


LOST: list[dict[str, Any]] = [{"status": 502}, {"status": 504}, {"drop": "before"}, {"drop": "mid"}, {"drop": "after"}]


@pytest.mark.parametrize("name", REPEATABLE)
@pytest.mark.parametrize("fault", [*LOST, {"status": 503}, {"status": 429}], ids=str)
async def test_repeatable_calls_are_retried(name: Any, fault: Any) -> None:
    """A call that may be repeated succeeds after three failures."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next(name, **fault, times=3)
        await CALLS[name](vbc)
        assert sandbox.faults_left(name) == 0


@pytest.mark.parametrize("name", REPEATABLE)
async def test_retries_end(name: Any) -> None:
    """After four attempts the last error is raised."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage(name, status=503)
        with pytest.raises(ServerError) as caught:
            await CALLS[name](vbc)
        assert caught.value.status == 503
        assert len(sandbox.log) == 4 + sandbox.token_requests
        sandbox.set_outage(name, drop="before")
        with pytest.raises(APIConnectionError) as lost:
            await CALLS[name](vbc)
        assert isinstance(lost.value.__cause__, aiohttp.ServerDisconnectedError)
        assert lost.value.retryable
        assert lost.value.sent


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize(
    "fault",
    [
        *LOST,
        {"status": 500},
        {"status": 503},
        {"status": 503, "headers": {"Retry-After": "0.01"}},
        {"status": 200, "body": "<html>"},
    ],
    ids=str,
)
async def test_unknown_outcome_is_not_retried(name: Any, fault: Any) -> None:
    """A call that may have been done is not repeated, and its error has all records."""
    async with sandbox_session() as (sandbox, vbc):
        await vbc.warm_up()
        sandbox.fail_next(name, **fault)
        with pytest.raises(UnknownOutcomeError, match="2 records") as caught:
            await CALLS[name](vbc)
        assert len(sandbox.log) == 2
        assert list(caught.value.records) == (NUMBERS if name != "batch" else [record(0), record(1)]) or name == "batch"
        assert len(caught.value.records) == 2
        assert caught.value.status == fault.get("status", caught.value.status)


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("headers", [None, {"Retry-After": "0.01"}], ids=str)
async def test_a_429_is_retried(name: Any, headers: Any) -> None:
    """Only a 429 is repeated for calls that are sent once."""
    async with sandbox_session() as (sandbox, vbc):
        if name == "delist":
            await CALLS["publish"](vbc)
        sandbox.fail_next(name, status=429, headers=headers, times=2)
        await CALLS[name](vbc)
        assert sandbox.faults_left(name) == 0


@pytest.mark.parametrize("name", ONCE)
async def test_refused_connection_is_retried(name: Any) -> None:
    """A refused connection is retried for every call, since nothing was sent."""
    async with sandbox_session(APIPolicy(retry_first=timedelta(seconds=0.2))) as (sandbox, vbc):
        if name == "delist":
            await CALLS["publish"](vbc)
        await vbc.warm_up()
        await sandbox.pause_listening()
        call = asyncio.ensure_future(CALLS[name](vbc))
        await asyncio.sleep(0.05)
        await sandbox.resume_listening()
        await call


@pytest.mark.slow
@pytest.mark.parametrize("name", ONCE)
async def test_unreachable_server(name: Any) -> None:
    """If nothing was sent, the error is not an unknown outcome, and has aiohttp's own as its cause."""
    async with sandbox_session() as (sandbox, vbc):
        await vbc.warm_up()
        await sandbox.pause_listening()
        await asyncio.sleep(0.05)  # until the pool has noticed that its connection is closed
        with pytest.raises(APIConnectionError) as caught:
            await CALLS[name](vbc)
        assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)
        assert not caught.value.sent


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REPEATABLE, *ONCE])
def test_an_answer_that_never_comes(name: Any) -> None:
    """Each attempt has a timeout; then the call is repeated, or its outcome is unknown."""

    async def main() -> None:
        async with sandbox_session(APIPolicy(attempts=2)) as (sandbox, vbc):
            sandbox.set_outage(name, delay=1e9)
            error = UnknownOutcomeError if name in ONCE else TimeoutError
            with pytest.raises(error):
                await CALLS[name](vbc)
            took = asyncio.get_running_loop().time()
            assert 30 <= took < 32 if name in ONCE else 60 <= took < 63

    run_virtual(main())


@pytest.mark.parametrize("name", CALLS)
async def test_without_a_token_nothing_is_sent(name: Any) -> None:
    """The TokenError is raised at once, and the call is not retried."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage("token", status=503)
        with pytest.raises(TokenEndpointError):
            await CALLS[name](vbc)
        assert [entry.path.rpartition("/")[2] for entry in sandbox.log] == ["token"]


@pytest.mark.parametrize("name", CALLS)
async def test_no_redirect_is_followed(name: Any) -> None:
    """Redirects are not followed, since records are personal data."""
    async with sandbox_session() as (sandbox, vbc), Sandbox() as elsewhere:
        sandbox.set_outage(name, status=307, headers={"Location": f"{elsewhere.base_url}/x"})
        with pytest.raises(APIError) as caught:
            await CALLS[name](vbc)
        assert caught.value.status == 307
        assert not elsewhere.log


@pytest.mark.slow
async def test_patience_ends() -> None:
    """A Retry-After is waited for until the sum of the waits exceeds the patience."""
    async with sandbox_session(APIPolicy(patience=timedelta(seconds=0.5))) as (sandbox, vbc):
        sandbox.set_outage("labels", status=429, headers={"Retry-After": "0.2"})
        with pytest.raises(RateLimitedError):
            await vbc.labels.list()
        assert 2 <= count_requests(sandbox, "labels") <= 3


async def _nothing_undocumented(name: str, answer: bytes) -> None:
    policy = APIPolicy(attempts=2).scaled(1 / 500)
    credentials = Credentials("account", "key", "secret-api-key")
    async with raw_server(answer) as base_url, VBCSession(credentials, base_url=base_url, api_policy=policy) as vbc:
        try:
            await CALLS[name](vbc)
        except VBCError as error:
            shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
            assert "t" * 64 not in shown
            assert "secret-api-key" not in shown


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(list(CALLS)),
    status=st.integers(100, 999),
    body=st.binary(max_size=200)
    | st.sampled_from([b"{}", b"[]", b"null", b'{"status":"failed"}', b"<html>Bearer " + b"t" * 64]),
    kind=st.sampled_from([b"application/json", b"text/html; charset=odd", b""]),
    extra=st.sampled_from([b"", b"Retry-After: 0.001\r\n", b"Content-Encoding: gzip\r\n", b"Retry-After: x\r\n"]),
)
async def test_any_answer_to_any_call(name: str, status: int, body: bytes, kind: bytes, extra: bytes) -> None:
    """Any answer gives a result or a documented error without a secret in it."""
    head = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n"
    await _nothing_undocumented(name, head % (status, kind, extra, len(body)) + body)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(list(CALLS)),
    st.binary(max_size=200)
    | st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/9.9 200 OK\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ]
    ),
)
async def test_any_bytes_in_place_of_an_answer(name: str, answer: bytes) -> None:
    """Bytes that are not HTTP give a documented error as well."""
    await _nothing_undocumented(name, answer)


@pytest.mark.slow
async def test_answer_that_is_too_long() -> None:
    """An answer beyond the size limit is not read to its end."""
    async with sandbox_session(FAST) as (sandbox, vbc):
        sandbox.set_outage("labels", status=200, body=b"[" + b" " * (65 * 1024 * 1024) + b"]")
        with pytest.raises(ServerError, match="too long"):
            await vbc.labels.list()


def test_tiny_retry_after_causes_no_retry_storm() -> None:
    """A Retry-After of a microsecond is lengthened to the first wait of the policy."""

    async def main() -> int:
        async with sandbox_session(APIPolicy()) as (sandbox, vbc):
            sandbox.set_outage("labels", status=429, headers={"Retry-After": "0.000001"})
            with pytest.raises(RateLimitedError):
                await vbc.labels.list()
            return count_requests(sandbox, "labels")

    assert run_virtual(main()) == 121  # every 0.5 s for 60 s


def test_wait_after_many_attempts() -> None:
    """The wait stays at its maximum, however many attempts there were."""
    client: Any = ApiClient(cast(Any, None), APIPolicy())
    busy = RateLimitedError("busy", status=429)

    assert 4 <= client._wait(ApiRequest("GET", "/", list), busy, 5000) <= 8


@pytest.mark.parametrize("records", [None, ["a record"]])
@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectorCertificateError(HOST, ValueError()),
        aiohttp.ServerFingerprintMismatch(b"", b"", "host", 443),
        aiohttp.ClientHttpProxyError(REQUEST, (), status=407),
        aiohttp.InvalidUrlClientError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_permanent_connection_errors_are_not_retried(error: Exception, records: Any) -> None:
    """A wrong certificate, a refusing proxy or an invalid URL is not retried."""
    client: Any = ApiClient(cast(Any, None), APIPolicy())

    request: Any = ApiRequest("GET", "/", list, records=records)
    failure = client._failure(request, error, None)

    assert isinstance(failure, APIConnectionError)
    assert not failure.retryable
    assert client._wait(request, failure, 1) is None


@pytest.mark.parametrize("attempt", [1, 2, 3, 9])
def test_wait_doubles_with_jitter(attempt: int) -> None:
    """The wait is 0.5 s, doubled for each attempt up to 8 s, times 0.5 to 1."""
    client: Any = ApiClient(cast(Any, None), APIPolicy())
    most = min(0.5 * 2 ** (attempt - 1), 8)

    for _ in range(20):
        assert most / 2 <= client._wait(ApiRequest("GET", "/", list), APIConnectionError("lost"), attempt) <= most


def test_pauses_of_a_poll_grow() -> None:
    """Each pause is 1.6 times the one before, up to the maximum, with jitter."""
    client: Any = ApiClient(
        cast(Any, None), APIPolicy(poll_first=timedelta(seconds=1), poll_most=timedelta(seconds=30))
    )
    found = [client._pause(count) for count in range(1, 41)]

    assert 0.8 <= found[0] <= 1.2
    assert 5 <= found[4] <= 8
    assert all(24 <= pause <= 36 for pause in found[10:])


def test_wait_after_a_429_is_part_of_the_window() -> None:
    """Without Retry-After the wait after a 429 is a part of the rate limit's window."""
    client: Any = ApiClient(cast(Any, None), APIPolicy())

    for _ in range(20):
        wait = client._wait(
            ApiRequest("POST", "/", list, limiter=client.batch), RateLimitedError("busy", status=429), 1
        )
        assert 61 / 16 <= wait <= 61.2 / 8


def test_failed_connection_was_not_sent() -> None:
    """Connecting has a shorter timeout than the request, so a failed connection is known to have sent nothing."""
    client: Any = ApiClient(cast(Any, None), APIPolicy())
    request: Any = ApiRequest("POST", "/", list, records=["a record"])

    repeatable, once = client._timeouts
    assert once.connect < once.total == repeatable.total
    for error in (aiohttp.ConnectionTimeoutError(), aiohttp.ClientConnectorError(HOST, OSError())):
        failure = client._failure(request, error, None)
        assert isinstance(failure, APIConnectionError)
        assert isinstance(failure, TimeoutError) == isinstance(error, TimeoutError)
        assert client._wait(request, failure, 1) is not None


@pytest.mark.parametrize("status", [400, 408, 500, 501, 505])
async def test_permanent_statuses_are_not_retried(status: int) -> None:
    """These statuses raise the error after one request."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage("labels", status=status)
        with pytest.raises(APIError):
            await vbc.labels.list()
        assert count_requests(sandbox, "labels") == 1


def test_a_429_delays_later_calls() -> None:
    """A call that starts during the pause after a 429 waits as well."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with sandbox_session(APIPolicy()) as (sandbox, vbc):
            sandbox.fail_next("batch", status=429, headers={"Retry-After": "50"})
            first = asyncio.create_task(vbc.calls.push_batch([record()]))
            await asyncio.sleep(1)
            await vbc.calls.push_batch([record(1)])
            assert 50 <= loop.time() <= 52
            await first

    run_virtual(main())


@pytest.mark.parametrize("name", ["calls", "batch"])
async def test_close_fails_calls_that_wait_for_the_rate_limit(name: str) -> None:
    """`close` fails such calls at once."""
    policy = APIPolicy(realtime_rate=1, batch_rate=1, realtime_window=timedelta(hours=1))
    async with sandbox_session(policy) as (_, vbc), asyncio.timeout(30):
        await CALLS[name](vbc)
        waiting = asyncio.ensure_future(CALLS[name](vbc))
        await asyncio.sleep(0.01)
        await vbc.close()
        with pytest.raises(SessionClosedError, match="not sent"):
            await waiting


async def test_http_session_with_raise_for_status() -> None:
    """The settings of the user's http= session do not change errors, and the body is sent as JSON."""
    kinds: list[str] = []

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        kinds.append(request.headers["Content-Type"])
        return await handler(request)

    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession(raise_for_status=True, middlewares=(middleware,)) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http, api_policy=FAST) as vbc,
    ):
        with pytest.raises(BadRequestError, match="label"):
            await vbc.calls.push(record(label_id="other"))
    assert set(kinds) == {"application/json"}


async def test_close_of_a_session_that_was_never_open() -> None:
    """`close` may be called in any state, and more than once."""
    vbc = VBCSession(Credentials("account", "key", "secret"))
    for _ in range(2):
        await vbc.close()
    with pytest.raises(SessionClosedError, match="closed"):
        await vbc.calls.push(record())


@pytest.mark.parametrize("name", ["labels", "batch"])
async def test_error_of_invalid_http_has_no_cause(name: str) -> None:
    """The repr of aiohttp's error shows the request's headers, so it is not the cause of ours."""
    credentials = Credentials("account", "key", "secret-api-key")
    async with (
        raw_server(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as base_url,
        VBCSession(credentials, base_url=base_url, api_policy=FAST) as vbc,
    ):
        with pytest.raises(UnknownOutcomeError if name == "batch" else ServerError) as caught:
            await CALLS[name](vbc)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", ["labels", "batch", "wait"])
async def test_close_fails_waiting_calls_at_once(name: str) -> None:
    """A call that waits for a 429 to pass, or for its next look, ends with the session."""
    calls = CALLS | {"wait": lambda vbc: vbc.calls.wait_for_batch("x", timeout=600)}
    async with sandbox_session(APIPolicy(poll_first=timedelta(seconds=30))) as (sandbox, vbc):
        sandbox.set_outage("api", status=404 if name == "wait" else 429, headers={"Retry-After": "30"})
        waiting = asyncio.ensure_future(calls[name](vbc))
        while not len(sandbox.log) > sandbox.token_requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1):
            await vbc.close()
            with pytest.raises(SessionClosedError):
                await waiting


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"status": 429}, {"drop": "before"}], ids=str)
async def test_a_wait_outlasts_passing_failures(fault: Any) -> None:
    """`wait_for_batch` and `wait_until_listed` go on after failures that may pass."""
    async with sandbox_session(APIPolicy(attempts=1).scaled(1 / 100)) as (sandbox, vbc):
        batch = await vbc.calls.push_batch([record()])
        await vbc.numbers.publish(FEATURE_SET, NUMBERS)
        sandbox.fail_next("status", **fault, times=4)
        sandbox.fail_next("numbers", **fault, times=4)
        assert (await vbc.calls.wait_for_batch(batch, timeout=20)).final
        assert await vbc.numbers.wait_until_listed(NUMBERS, timeout=20)
        assert sandbox.faults_left("status") == sandbox.faults_left("numbers") == 0


async def test_a_wait_ends_with_a_permanent_failure() -> None:
    """A refusal ends a wait at once."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage("status", status=403)
        with pytest.raises(ForbiddenError):
            await vbc.calls.wait_for_batch("x", timeout=20)


async def test_attempts_are_counted_on_the_wire() -> None:
    """A lost request on a reused connection is sent as often as the policy says."""
    async with sandbox_session(APIPolicy(attempts=3, retry_first=timedelta(seconds=0.01))) as (sandbox, vbc):
        await vbc.labels.list()
        before = count_requests(sandbox, "labels")
        sandbox.set_outage("labels", drop="before")
        with pytest.raises(APIConnectionError) as caught:
            await vbc.labels.list()
        assert isinstance(caught.value.__cause__, aiohttp.ServerDisconnectedError)
        assert count_requests(sandbox, "labels") - before == 3


@pytest.mark.slow
async def test_sent_once_on_a_fresh_connection() -> None:
    """A call that is sent once takes no connection that has rested for a second."""
    taken: list[str] = []
    trace = aiohttp.TraceConfig()

    async def created(*_: object) -> None:
        taken.append("new")

    async def reused(*_: object) -> None:
        taken.append("pooled")

    trace.on_connection_create_end.append(created)
    trace.on_connection_reuseconn.append(reused)
    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession(trace_configs=[trace]) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc,
    ):
        await vbc.warm_up()
        for pause in (0.0, 0.0, 1.1):
            await asyncio.sleep(pause)
            await vbc.calls.push_batch([record()])
        await asyncio.sleep(1.1)
        await vbc.labels.list()
    assert taken[-6:] == ["pooled", "pooled", "new", "pooled", "pooled", "pooled"]


@pytest.mark.parametrize("name", ["calls", "batch"])
async def test_window_that_closes_while_a_call_waits(name: Any) -> None:
    """A record whose window closes during a 429 is not sent."""
    clock = [time.time()]
    async with sandbox_session() as (sandbox, vbc):
        vbc.calls._now = lambda: clock[0]
        sandbox.fail_next(name, status=429, headers={"Retry-After": "0.05"})
        call = asyncio.ensure_future(CALLS[name](vbc))
        while not len(sandbox.log) > sandbox.token_requests:
            await asyncio.sleep(0.001)
        clock[0] += 7200
        with pytest.raises(InvalidRecordError, match="window has closed"):
            await call
        assert not sandbox.accepted


async def test_window_that_closes_after_a_lost_push() -> None:
    """The lost connection is raised, since the record may have been taken."""
    clock = [time.time()]
    async with sandbox_session() as (sandbox, vbc):
        vbc.calls._now = lambda: clock[0]
        sandbox.fail_next("calls", drop="after")
        call = asyncio.ensure_future(CALLS["calls"](vbc))
        while not sandbox.accepted:
            await asyncio.sleep(0)
        clock[0] += 7200
        with pytest.raises(APIConnectionError):
            await call


@pytest.mark.parametrize("name", ["labels", "batch"])
async def test_error_of_a_middleware_is_raised_as_it_is(name: str) -> None:
    """A RuntimeError of the user's own code is not taken for a lost connection."""

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if request.url.path.endswith("/token"):
            return await handler(request)
        raise RuntimeError("mine")

    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession(middlewares=(middleware,)) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http, api_policy=FAST) as vbc,
    ):
        with pytest.raises(RuntimeError, match="mine") as caught:
            await CALLS[name](vbc)
        assert not isinstance(caught.value, VBCError)


async def test_a_wait_ends_with_a_connection_that_can_never_be() -> None:
    """A certificate that is not trusted ends a wait at once."""
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        raise APIConnectionError("not trusted", retryable=False)

    with pytest.raises(APIConnectionError, match="not trusted"):
        await ApiClient(cast(Any, None), FAST).poll_until(look, timedelta(seconds=5))
    assert looks == 1


def test_a_wait_honours_retry_after() -> None:
    """A poll does not ask again before the server allows it."""

    async def main() -> None:
        times: list[float] = []

        async def look() -> bool:
            times.append(asyncio.get_running_loop().time())
            if len(times) == 1:
                raise RateLimitedError("busy", status=429, retry_after=50)
            return True

        assert await ApiClient(cast(Any, None), APIPolicy()).poll_until(look, timedelta(seconds=90))
        assert times[1] - times[0] >= 50

    run_virtual(main())


def test_cause_of_a_proxys_refusal_has_no_headers() -> None:
    """The request to a proxy may carry its password."""
    cause = _without_headers(aiohttp.ClientHttpProxyError(REQUEST, (), status=407, message="who?"))

    assert isinstance(cause, aiohttp.ClientHttpProxyError)
    assert cause.status == 407
    assert "Authorization" not in repr(cause)
