"""Test what the scenarios cannot state of sharing a store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from truecaller_vbc import (
    MemoryStore,
    MintQuotaExhaustedError,
    StoreError,
    StoreRefusedError,
    TokenEndpointError,
)
from truecaller_vbc.token.ledger import Attempt, Outcome

from .virtual_time import EPOCH, run_virtual
from .world import World, world


class FlakyStore(MemoryStore):
    """A memory store that can refuse writes, fail after a write arrived, and fail to release leases."""

    __slots__ = ("fails_after_writing", "keeps_leases", "refuses_writes")

    def __init__(self) -> None:
        super().__init__()
        self.keeps_leases = self.fails_after_writing = False
        self.refuses_writes = 0

    async def write(self, key: str, document: str) -> bool:
        if self.refuses_writes:
            self.refuses_writes -= 1
            return False
        kept = await super().write(key, document)
        if self.fails_after_writing:
            raise StoreError("written, but the answer is lost")
        return kept

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncIterator[bool]:
        async with super().lease(key, seconds) as granted:
            yield granted
        if self.keeps_leases:
            raise StoreError("the store is down")


def test_another_base_url_is_another_document() -> None:
    """Sessions with different base URLs share neither tokens nor mints."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one, world(store=store) as two:
            two.server.base_url = URL("https://other.example")
            await one.holder.token()
            await two.holder.token()
            assert (one.server.mints, two.server.mints) == (1, 1)
            assert two.kinds() == ["TokenMinted"]
            assert two.holder.status().mints_in_window == 1

    run_virtual(main())


def test_a_process_that_was_stopped_for_longer_than_its_lease_looks_again() -> None:
    """It was stopped after its lease had been granted; it takes the token that another has minted meanwhile."""

    class StoppedStore(MemoryStore):
        stopped: Any = None

        async def write(self, key: str, document: str) -> bool:
            if (stopped := self.stopped) is not None:
                self.stopped = None
                self._leased.clear()  # it has ended
                await stopped()
            return await super().write(key, document)

    async def main() -> None:
        store = StoppedStore()
        async with world(store=store) as stopped:
            other = World(store=store, server=stopped.server)
            other.holder.open(None)

            async def meanwhile() -> None:
                stopped.clock.suspend(100.0)
                await other.holder.token()

            store.stopped = meanwhile
            assert await stopped.holder.token() == await other.holder.token()
            assert stopped.server.mints == 1
            outcomes = [entry.outcome for entry in stopped.holder.ledger()]
            assert sorted(outcomes) == ["minted", "unsent"]
            await other.holder.close()

    run_virtual(main())


def test_token_that_ended_while_it_was_stored_is_not_handed_out() -> None:
    """A process that was stopped for an hour between the answer and its write mints again."""

    class SleepyStore(MemoryStore):
        sleep: Any = None
        writes = 0

        async def write(self, key: str, document: str) -> bool:
            self.writes += 1
            if self.writes == 2:
                self.sleep(4000.0)
            return await super().write(key, document)

    async def main() -> None:
        store = SleepyStore()
        async with world(store=store) as it:
            store.sleep = it.clock.suspend
            token = await it.holder.token()
            assert it.server.accepts_token(token.value)
            assert it.server.mints == 2

    run_virtual(main())


def test_token_of_another_process_ends_a_row_of_failures() -> None:
    """A failure after the success of another process has the first backoff, although that token has ended since."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as failing:
            failing.server.mood = "503"
            for _ in range(3):
                with pytest.raises(TokenEndpointError):
                    await failing.holder.token()
                await asyncio.sleep(10)
            failing.server.mood = "ok"
            other = World(store=store, server=failing.server)
            other.holder.open(None)
            await other.holder.token()
            await other.holder.close()
            await asyncio.sleep(4000)

            failing.server.mood = "503"
            with pytest.raises(TokenEndpointError) as caught:
                await failing.holder.token()

            assert caught.value.retry_at is not None
            assert caught.value.retry_at.timestamp() - failing.clock.wall() < 1.3

    run_virtual(main())


def test_a_fleet_that_starts_at_once_mints_once() -> None:
    """Twenty sessions that start together mint once, and refresh once."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            one.server.latency = 3.0
            fleet = [one, *(World(store=store, server=one.server) for _ in range(19))]
            for it in fleet[1:]:
                it.holder.open(None)
            tokens = await asyncio.gather(*(it.holder.token() for it in fleet))
            assert len(set(tokens)) == 1
            assert one.server.mints == 1

            await asyncio.sleep(2750)  # every soft point has passed: one refresh, nineteen adoptions
            assert one.server.mints == 2
            assert len({it.current() for it in fleet}) == 1
            for it in fleet[1:]:
                await it.holder.close()

    run_virtual(main())


@pytest.mark.parametrize("step", [0.0, -86_400.0])
def test_token_made_after_a_loss_of_the_store_is_adopted(step: float) -> None:
    """A token that was made after a loss of the store is adopted in spite of its lower generation."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as old:
            for _ in range(3):
                await old.holder.token()
                old.clock.suspend(4000)
                await asyncio.sleep(2)
            store._documents.clear()
            old.clock.step(step)
            async with world(store=store, server=old.server) as young:
                newest = await young.holder.token()
                assert old.holder.status().generation > young.holder.status().generation
                assert await old.holder.token() == newest
                assert old.server.mints == 4
                assert old.holder.status().generation == 3

    run_virtual(main())


def test_refused_write_is_merged_and_repeated() -> None:
    """When a store refuses a write as outdated, the document is read, merged and written again."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            store.refuses_writes = 2
            await it.holder.token()
            assert "StoreUnavailable" not in it.kinds()
            store.refuses_writes = 100
            it.clock.suspend(4000)
            await asyncio.sleep(2)
            await it.holder.token()
            assert it.server.mints == 2

    run_virtual(main())


def test_failed_write_that_arrived_counts_no_mint() -> None:
    """A deferred refresh counts no mint, though its failed write reached the store."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            await it.holder.token()
            store.fails_after_writing = True
            for _ in range(8):
                it.holder.state.used = True
                it.holder.state.postpone_refresh(it.clock.now())
                await it.refresh()
                await asyncio.sleep(1)
            store.fails_after_writing = False
            await it.holder._minter.save_back()
            assert it.server.mints == 1
            assert it.holder.status().mints_in_window == 1
            async with world(store=store, server=it.server) as other:
                await other.holder.token()
                assert other.holder.status().mints_in_window == 1

    run_virtual(main())


def test_attempts_are_forgotten_with_their_window() -> None:
    """Attempts leave the ledger with their window, however long the store is down."""

    async def main() -> None:
        async with world(store=MemoryStore()) as it:
            state = it.holder.state
            for number in range(1000):
                state.enter(Attempt(str(number), it.clock.now(), Outcome.UNSENT), it.clock.now())
                await asyncio.sleep(60)
            assert len(state.ledger.attempts) < 40

    run_virtual(main())


@pytest.mark.slow
def test_outage_of_a_fleet_does_not_fill_the_document() -> None:
    """The document stays readable after thousands of unsent attempts in one window."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            for number in range(5000):
                attempt = Attempt(
                    f"{number:016x}", one.clock.now(), Outcome.UNSENT, minted_by="a-host-in-a-fleet.example:12345"
                )
                one.holder.state.enter(attempt, one.clock.now())
            token = await one.holder.token()
            async with world(store=store, server=one.server) as two:
                assert token == await two.holder.token()
                assert one.server.mints == 1

    run_virtual(main())


def test_lease_that_cannot_be_released_costs_no_token() -> None:
    """A token is returned though the lease cannot be released."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            store.keeps_leases = True
            await it.holder.token()
            assert it.server.mints == 1
            assert "StoreUnavailable" in it.kinds()

    run_virtual(main())


def test_failed_release_does_not_stop_writes() -> None:
    """After a failed release the next attempt is still written before its request."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            store.keeps_leases = True
            await it.holder.token()
            store.keeps_leases = False
            it.clock.suspend(4000)
            await asyncio.sleep(2)
            it.server.mood = "hung"
            caller = asyncio.create_task(it.holder.token())
            await asyncio.sleep(1)
            (text,) = store._documents.values()
            assert [attempt["outcome"] for attempt in json.loads(text)["attempts"]] == ["unknown"]
            with pytest.raises(TokenEndpointError):
                await caller

    run_virtual(main())


def test_unreadable_document_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """An unreadable document is logged and replaced by the next mint."""

    async def main() -> None:
        newer = '{"version": 99, "revision": 7}'
        for text in ("", "[]", "{", newer, '{"attempts": 7}', '{"keys": {"x": {"generation": "?"}}}'):
            store = MemoryStore()
            async with world(store=store) as it:
                key = it.holder._minter._key
                store._documents[key] = text
                await it.holder.token()
                assert '"version":1' in (await store.read(key) or "")

    run_virtual(main())
    assert caplog.text.count("the next mint replaces it") >= 6


@pytest.mark.parametrize("step", [-3600.0, 1800.0])
def test_wall_clock_is_set_during_a_mint(step: float) -> None:
    """When the wall clock is set during a mint, other sessions still read the right age of the token."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            one.server.latency = 2.0
            minting = asyncio.create_task(one.holder.token())
            await asyncio.sleep(1)
            one.clock.step(step)
            token = await minting
            left = token.expires_at.timestamp() - one.clock.wall()
            assert left == pytest.approx(3598, abs=0.1)
            await asyncio.sleep(600)
            async with world(store=store, server=one.server) as two:
                two.clock.stepped = one.clock.stepped
                adopted = await two.holder.token()
                assert adopted.value == token.value
                assert adopted.expires_at.timestamp() - two.clock.wall() == pytest.approx(2998, abs=0.1)

    run_virtual(main())


class RefusingStore(MemoryStore):
    """A store that raises StoreRefusedError."""

    __slots__ = ("refuses",)

    def __init__(self) -> None:
        super().__init__()
        self.refuses: set[str] = set()

    async def read(self, key: str) -> str | None:
        if "read" in self.refuses:
            raise StoreRefusedError("repair it")
        return await super().read(key)

    async def write(self, key: str, document: str) -> bool:
        if "write" in self.refuses:
            raise StoreRefusedError("repair it")
        return await super().write(key, document)


def test_store_that_refuses_a_write_costs_no_token() -> None:
    """A token is returned and kept though the store refuses it, and is written once the store accepts it."""

    async def main() -> None:
        store = RefusingStore()
        async with world(store=store) as it:
            first = await it.holder.token()
            store.refuses = {"write"}
            await asyncio.sleep(31)
            await it.holder.rejected(first)
            token = await it.holder.token()
            assert token != first
            assert str(token.value) not in next(iter(store._documents.values()))
            store.refuses = set()
            await asyncio.sleep(31)
            assert str(token.value) in next(iter(store._documents.values()))

    run_virtual(main())


def test_unknown_values_in_a_document_are_tolerated() -> None:
    """Unknown outcomes count, unreadable time stamps are replaced, and a full window is shared."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            token = await one.holder.token()
            ((key, text),) = store._documents.items()
            strange = text.replace('"minted"', '"embezzled"').replace(token.created_at.isoformat(), "yesterday")
            store._documents[key] = strange
            async with world(store=store, server=one.server) as two:
                adopted = await two.holder.token()
                assert (adopted.value, two.holder.status().mints_in_window) == (token.value, 1)
                assert adopted.created_at.timestamp() == pytest.approx(EPOCH)

            one.server.mood, one.server.retry_after = "429", 500.0
            one.clock.suspend(4000)
            await asyncio.sleep(2)
            with pytest.raises(MintQuotaExhaustedError):
                await one.holder.token()
            async with world(store=store, server=one.server) as three:
                for _ in range(2):
                    with pytest.raises(MintQuotaExhaustedError):
                        await three.holder.token()
                    await asyncio.sleep(70)
                assert three.holder.status().mints_left == 0
            assert one.server.calls == 2

    run_virtual(main())
