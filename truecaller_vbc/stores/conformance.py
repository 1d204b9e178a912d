"""Check that a store follows the protocol; for your own stores' tests and ours.

::

    @pytest.mark.parametrize("check", CHECKS)
    async def test_my_store(check):
        await check(lambda: MyStore("where it keeps things"))

Each check takes a callable that returns a new handle on the same storage, as another process would have, and uses fresh
keys. It raises AssertionError with the broken rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from .protocol import TokenStore

NewStore: TypeAlias = Callable[[], TokenStore]
_MINUTE: Final = 60.0
_LOOKS: Final = 100
_PAUSE: Final = 0.05
_SHORT: Final = 0.3
_LONG: Final = 5.0


async def unknown_key_is_none(new_store: NewStore) -> None:
    """Check that an unknown key has no document."""
    _rule(await new_store().read(_key()) is None, "read() of an unknown key must give None")


async def document_is_kept_as_it_is(new_store: NewStore) -> None:
    """Check that a document is read back unchanged, also through another handle."""
    key = _key()
    text = _document(1, words='"quotes", \\ and ☎ of many a script: नमस्ते', bulk="x" * 50_000)
    await new_store().write(key, text)
    _rule(await new_store().read(key) == text, "read() must give what write() was given, to the letter")


async def newer_document_replaces_the_older(new_store: NewStore) -> None:
    """Check that a higher revision replaces a lower one."""
    key, store = _key(), new_store()
    for revision in (1, 2, 7, 2**51 - 1, 2**51):
        _rule(await store.write(key, _document(revision)) is not False, "write() of a higher revision must be kept")
    _rule(await new_store().read(key) == _document(2**51), "read() must give the newest document")


async def older_document_is_refused(new_store: NewStore) -> None:
    """Check that a revision that is not higher is refused with False and changes nothing."""
    key = _key()
    await new_store().write(key, _document(5))
    for revision in (5, 4):
        kept = await new_store().write(key, _document(revision, late=True))
        _rule(kept is False, "write() of a revision that is not higher must give False")
    _rule(await new_store().read(key) == _document(5), "a refused write() must change nothing")


async def keys_are_separate(new_store: NewStore) -> None:
    """Check that two keys are independent."""
    one, two = _key(), _key()
    await new_store().write(one, _document(9))
    await new_store().write(two, _document(1))
    _rule(await new_store().read(one) == _document(9), "a write() at one key must not touch another")
    async with new_store().lease(one, _MINUTE) as first, new_store().lease(two, _MINUTE) as second:
        _rule(first and second, "the leases of two keys must not exclude each other")


async def lease_is_for_one(new_store: NewStore) -> None:
    """Check that a held lease is refused to others at once, and is granted again after its end."""
    key = _key()
    async with new_store().lease(key, _MINUTE) as first:
        _rule(first, "the first lease() must be granted")
        async with asyncio.timeout(5), new_store().lease(key, _MINUTE) as second:
            _rule(not second, "a second lease() must not be granted")
        async with new_store().lease(key, _MINUTE) as third:
            _rule(not third, "the end of a lease() that was not granted must not end the one that was")
    async with new_store().lease(key, _MINUTE) as next_one:
        _rule(next_one, "lease() must be granted again after its end")


async def lease_ends_with_its_block(new_store: NewStore) -> None:
    """Check that the lease ends with its block, also after an exception or a cancellation."""
    key = _key()

    async def fail() -> None:
        async with new_store().lease(key, _MINUTE):
            raise ZeroDivisionError

    async def hang() -> None:
        async with new_store().lease(key, _MINUTE):
            await asyncio.sleep(_MINUTE)

    await asyncio.gather(fail(), return_exceptions=True)
    async with new_store().lease(key, _MINUTE) as granted:
        _rule(granted, "an exception in its block must end the lease()")
    hanging = asyncio.create_task(hang())
    await asyncio.sleep(0.1)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    async with new_store().lease(key, _MINUTE) as granted:
        _rule(granted, "the cancellation of its block must end the lease()")


async def lease_ends_after_its_seconds(new_store: NewStore) -> None:
    """Check that the lease ends after its seconds although its holder, which may be stopped, has not left the block."""
    key = _key()
    async with new_store().lease(key, _SHORT) as first:
        _rule(first, "the first lease() must be granted")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONG):
                while True:
                    async with new_store().lease(key, _MINUTE) as second:
                        if second:
                            return
                    await asyncio.sleep(_SHORT / 10)
        _rule(holds=False, rule="lease() must be granted again after its seconds, though its holder goes on")


async def lease_survives_a_crowd(new_store: NewStore) -> None:
    """Check with twenty contenders, some cancelled, that the lease is never held twice and never stays taken."""
    key = _key()
    inside = most = turns = 0

    async def contend() -> None:
        nonlocal inside, most, turns
        async with new_store().lease(key, _MINUTE) as granted:
            if granted:
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(0.005)
                    turns += 1
                finally:
                    inside -= 1

    for round_ in range(10):
        crowd = [asyncio.create_task(contend()) for _ in range(20)]
        for _ in range(round_):
            await asyncio.sleep(0)
        for one in crowd[::3]:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    is_free = False
    for _ in range(_LOOKS):  # what was cancelled may still be on its way back
        async with new_store().lease(key, _MINUTE) as granted:
            is_free = granted
        if is_free:
            break
        await asyncio.sleep(_PAUSE)
    _rule(is_free, "a lease() that was cancelled while it was asked for must not stay taken")
    _rule(most == 1, f"lease() was granted to {most} at once")
    _rule(turns > 0, "lease() was granted to nobody")


CHECKS: Final[tuple[Callable[[NewStore], Awaitable[None]], ...]] = (
    unknown_key_is_none,
    document_is_kept_as_it_is,
    newer_document_replaces_the_older,
    older_document_is_refused,
    keys_are_separate,
    lease_is_for_one,
    lease_ends_with_its_block,
    lease_ends_after_its_seconds,
    lease_survives_a_crowd,
)
"""All checks, for ``pytest.mark.parametrize``. `older_document_is_refused` is only for stores whose lease can end while
its owner goes on.
"""


async def check_store(new_store: NewStore) -> None:
    """Run all checks, one after the other.

    Raises:
        AssertionError: the store breaks the rule that the message states.
    """
    for check in CHECKS:
        await check(new_store)


def _key() -> str:
    return secrets.token_hex(16)


def _document(revision: int, **more: object) -> str:
    return json.dumps({"revision": revision, **more}, ensure_ascii=False)


def _rule(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise AssertionError(rule)
