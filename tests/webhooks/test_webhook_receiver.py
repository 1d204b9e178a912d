"""A receiver behind a real aiohttp.web server."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from truecaller_vbc import ClaimLostError, ConfigurationError, StoreError
from truecaller_vbc.sandbox import webhook_event
from truecaller_vbc.webhooks import CallMeBack, ClaimState, Event, MemoryClaims, Receiver, UnknownEvent, UserFeedback

from .servers import KEY, post, served, until


class Handled(list[Event]):
    """A handler that keeps what it got."""

    async def __call__(self, event: Event) -> None:
        self.append(event)


async def test_one_event_is_handled_once() -> None:
    """A real POST is handled once, and its duplicate gets 200 at once."""
    handled = Handled()
    event = webhook_event()
    async with served(Receiver(handled, key=KEY)) as url:
        first, second = await post(url, event), await post(url, event)

    assert (first[:2], second[:2]) == ((200, {"status": "done"}), (200, {"status": "duplicate"}))
    assert first[2]["Content-Type"] == "application/json"
    assert [it.event_id for it in handled] == [event["event_id"]]


async def test_handlers_by_type() -> None:
    """Each type has its handler; the unknown ones have theirs; one without any is answered and logged."""
    calls, feedback, others = Handled(), Handled(), Handled()
    receiver = Receiver(key=KEY)
    receiver.on(CallMeBack)(calls)
    async with served(receiver) as url:
        ignored = await post(url, webhook_event("user_feedback"))
        receiver.on(UserFeedback)(feedback)
        receiver.on(UnknownEvent)(others)
        await post(url)
        await post(url, webhook_event("user_feedback"))
        await post(url, {"event_id": "x", "event_type": "new"})
        broken = await post(url, {"event_id": "y", "event_type": "cmb", "cmb_payload": 3})

    assert ignored[:2] == (200, {"status": "ignored"})
    assert broken[0] == 200
    assert [len(calls), len(feedback), len(others)] == [1, 1, 2]
    with pytest.raises(ConfigurationError, match="already"):
        receiver.on(CallMeBack)(others)


@pytest.mark.parametrize("number", [0, 1])
async def test_several_keys(number: int) -> None:
    """Each of several keys is valid; others and none are not."""
    keys = ["old-key", "new & ü-key"]
    async with served(Receiver(Handled(), key=keys)) as url:
        bare = url.partition("?")[0]
        assert (await post(bare, params={"key": keys[number]}))[0] == 200
        for wrong in ({}, {"key": ""}, {"key": "old-ke"}, {"key": "old-key2"}, {"Key": "old-key"}):
            assert (await post(bare, params=wrong))[:2] == (403, {"error": "wrong key"})
        assert (await post(f"{bare}?key=%ED%A0%80"))[0] == 403
        assert (await post(f"{bare}?key={'x' * 5000}"))[0] == 403


@pytest.mark.parametrize("key", ["", " ", [], ["good", ""]])
def test_empty_keys_are_refused(key: Any) -> None:
    """An environment variable that is empty does not open the receiver to all."""
    with pytest.raises(ConfigurationError, match="key="):
        Receiver(key=key)


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline": 0},
        {"deadline": 60},
        {"lease": float("inf")},
        {"max_body": 0},
        {"mode": "run_later"},
        {"mode": "store_then_run"},
        {"mode": "store_then_run", "seen": "memory://"},
    ],
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    """A setting that is wrong is refused at once."""
    with pytest.raises(ConfigurationError):
        Receiver(key="k", **wrong)


async def test_refused_requests() -> None:
    """Method, content type, encoding, size and body have their answers, all JSON; the handler sees none of them."""
    handled = Handled()
    async with served(Receiver(handled, key=KEY)) as url:
        answers = [
            await post(url, headers={"Content-Type": "text/html"}),
            await post(url, headers={"Content-Encoding": "gzip"}),
            await post(url, b"x" * 70_000),
            await post(url, b"{"),
            await post(url, b""),
            await post(url, {"event_type": "cmb"}),
        ]
        no_type = await post(url, headers={"Content-Type": ""})
        async with aiohttp.ClientSession() as http, http.get(url) as got:
            assert (got.status, got.headers["Allow"]) == (405, "POST")

    assert [answer[0] for answer in answers] == [415, 415, 413, 400, 400, 400]
    assert no_type[0] == 200
    assert len(handled) == 1


async def test_failure_releases_the_event(caplog: pytest.LogCaptureFixture) -> None:
    """A failed handler gives 503, and the same event is handled when it comes again."""
    failures = [RuntimeError("first"), ValueError("second")]
    done = Handled()

    async def handler(event: Event) -> None:
        if failures:
            raise failures.pop(0)
        await done(event)

    event = webhook_event()
    async with served(Receiver(handler, key=KEY)) as url:
        statuses = [(await post(url, event))[0] for _ in range(4)]

    assert statuses == [503, 503, 200, 200]
    assert len(done) == 1
    assert "RuntimeError: first" in caplog.text


@pytest.mark.slow
async def test_handler_that_is_too_slow() -> None:
    """A handler beyond the deadline is cancelled and answered with 503; the event is handled when it comes again."""
    begun = Handled()

    async def handler(event: Event) -> None:
        await begun(event)
        if len(begun) == 1:
            await asyncio.sleep(60)

    event = webhook_event()
    async with served(Receiver(handler, key=KEY, deadline=0.2)) as url:
        first = await post(url, event)
        second = await post(url, event)

    assert (first[0], first[2]["Retry-After"]) == (503, "1")
    assert second[0] == 200


async def test_duplicate_of_a_running_event() -> None:
    """While an event is handled, its duplicate gets 503 with Retry-After, and is not handled."""
    free, begun = asyncio.Event(), Handled()

    async def handler(event: Event) -> None:
        begun.append(event)
        await free.wait()

    event = webhook_event()
    async with served(Receiver(handler, key=KEY)) as url:
        first = asyncio.create_task(post(url, event))
        await until(lambda: begun)
        second = await post(url, event)
        free.set()
        assert (await first)[0] == 200

    assert (second[0], second[2]["Retry-After"]) == (503, "2")
    assert len(begun) == 1


async def test_client_that_leaves() -> None:
    """The handler of a client that left goes on to its end, and the event is settled."""
    free, begun, ended = asyncio.Event(), Handled(), Handled()

    async def handler(event: Event) -> None:
        await begun(event)
        await free.wait()
        await ended(event)

    event = webhook_event()
    async with served(Receiver(handler, key=KEY)) as url:
        request = asyncio.create_task(post(url, event))
        await until(lambda: begun)
        request.cancel()
        await asyncio.wait([request])
        free.set()
        await until(lambda: ended)
        assert (await post(url, event))[:2] == (200, {"status": "duplicate"})

    assert len(begun) == 1


class _BrokenClaims(MemoryClaims):
    """Claims whose place is down while `broken` names a method."""

    broken = ""

    async def claim(self, event_id: str, owner: str, seconds: float, body: bytes | None = None) -> ClaimState:
        self._check("claim")
        return await super().claim(event_id, owner, seconds, body)

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        self._check("settle")
        await super().settle(event_id, owner, work)

    async def release(self, event_id: str, owner: str, delay: float) -> None:
        self._check("release")
        await super().release(event_id, owner, delay)

    def _check(self, method: str) -> None:
        if self.broken in (method, "all"):
            raise StoreError("down")


async def test_place_that_is_down() -> None:
    """Without a claim nothing is handled and the event comes again; handled but not settled is answered as handled."""
    claims, handled = _BrokenClaims(), Handled()
    async with served(Receiver(handled, key=KEY, seen=claims)) as url:
        claims.broken = "all"
        down = await post(url)
        assert (down[0], len(handled)) == (503, 0)
        claims.broken = "settle"
        assert (await post(url))[0] == 200
        assert len(handled) == 1


async def test_commit() -> None:
    """A committed event is settled whatever the handler does then; a second commit is refused."""
    receiver = Receiver(key=KEY)
    done: list[Any] = []

    @receiver.on(CallMeBack)
    async def handler(event: CallMeBack) -> None:
        await receiver.commit(event, done.append)
        with pytest.raises(ClaimLostError):
            await receiver.commit(event, done.append)
        raise RuntimeError("too late")

    event = webhook_event()
    async with served(receiver) as url:
        assert (await post(url, event))[0] == 200
        assert (await post(url, event))[1] == {"status": "duplicate"}
        with pytest.raises(ClaimLostError, match="handler"):
            await receiver.commit(CallMeBack(event_id=event["event_id"]), done.append)

    assert done == [None]


async def test_secrets_stay_hidden(caplog: pytest.LogCaptureFixture) -> None:
    """No repr and no log has the key or a number, whatever is refused and fails."""
    caplog.set_level(logging.DEBUG)

    async def handler(event: Event) -> None:
        raise RuntimeError("fails")

    receiver = Receiver(handler, key=[KEY, "second-secret"])
    async with served(receiver) as url:
        await post(url)
        await post(url, {"event_id": "x", "cmb_payload": {"client_number": "91"}})
        await post(url + "x")
        await post(url, b"[911234567890")
    with pytest.raises(ConfigurationError) as caught:
        Receiver(key=[KEY, ""])
    shown = "".join(traceback.TracebackException.from_exception(caught.value).format())

    text = caplog.text + repr(receiver) + repr(vars(receiver)) + shown
    assert "fails" in text
    assert not any(secret in text for secret in (KEY, "second-secret", "911234567890", "1234567890"))


# Stored first


async def test_store_then_run(place: Any) -> None:
    """An event is answered as soon as it is stored, and handled once in the background."""
    free, handled = asyncio.Event(), Handled()

    async def handler(event: Event) -> None:
        await free.wait()
        await handled(event)

    event = webhook_event()
    async with served(Receiver(handler, key=KEY, seen=place(), mode="store_then_run")) as url:
        first, second = await post(url, event), await post(url, event)
        assert handled == []
        free.set()
        await until(lambda: handled)
        third = await post(url, event)

    assert first[:2] == (200, {"status": "stored"})
    assert second[:2] == third[:2] == (200, {"status": "duplicate"})
    assert len(handled) == 1


@pytest.mark.slow
async def test_stored_event_after_failures_and_a_restart(place: Any) -> None:
    """A stored event whose handler fails, or is too slow, is tried until it succeeds, also by the next process."""
    tries = Handled()

    async def fails(event: Event) -> None:
        await tries(event)
        if len(tries) == 1:
            await asyncio.sleep(60)
        raise RuntimeError("not yet")

    receiver = Receiver(fails, key=KEY, seen=place(), mode="store_then_run", deadline=0.1, lease=0.3)
    async with served(receiver) as url:
        assert (await post(url))[0] == 200
        await until(lambda: len(tries) >= 3)

    handled = Handled()
    async with Receiver(handled, key=KEY, seen=place(), mode="store_then_run", lease=5):
        await until(lambda: handled)
    assert handled[0] == tries[0]


@pytest.mark.slow
async def test_handlers_that_raise_cancelled_do_not_end_the_background(place: Any) -> None:
    """More failures of any kind than there are tasks in the background do not stop it."""
    handled = Handled()

    async def handler(event: Event) -> None:
        if len(handled) < 20:
            await handled(event)
            raise asyncio.CancelledError
        await handled(event)

    async with served(Receiver(handler, key=KEY, seen=place(), mode="store_then_run")) as url:
        for _ in range(21):
            assert (await post(url))[0] == 200
        await until(lambda: len(handled) > 20)


@pytest.mark.slow
async def test_stored_event_without_a_handler_waits(place: Any) -> None:
    """What a program cannot handle is kept for one that can."""
    async with served(Receiver(Handled(), key=KEY, seen=place(), mode="store_then_run")) as url:
        pass
    silent = place()
    await silent.claim("a", "x", 1, b'{"event_id": "a"}')
    async with Receiver(key=KEY, seen=silent, mode="store_then_run", deadline=0.1, lease=0.2):
        await asyncio.sleep(0.1)
    handled = Handled()
    async with Receiver(handled, key=KEY, seen=place(), mode="store_then_run"):
        await until(lambda: handled)
    assert url


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["run", "store_then_run"])
async def test_two_receivers_at_one_place(place: Any, mode: Any) -> None:
    """Two receivers share their claims: 200 events, each sent twice to both, are handled once."""
    handled = Handled()
    events = [webhook_event() for _ in range(200)]
    receivers = [Receiver(handled, key=KEY, seen=place(), mode=mode) for _ in range(2)]
    async with served(receivers[0]) as one, served(receivers[1]) as two:

        async def send(event: Any) -> None:
            for url in (one, two, one, two):
                while (await post(url, event))[0] != 200:
                    await asyncio.sleep(0.01)

        for first in range(0, 200, 20):
            await asyncio.gather(*(send(event) for event in events[first : first + 20]))
        await until(lambda: len(handled) >= 200)

    assert sorted(it.event_id for it in handled) == sorted(event["event_id"] for event in events)
