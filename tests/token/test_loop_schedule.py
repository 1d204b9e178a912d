"""Test the one timer of an event loop that wakes the background of all sessions."""

from __future__ import annotations

import asyncio
import logging

import attrs
import pytest

from truecaller_vbc import MemoryStore
from truecaller_vbc.token.clock import NEVER
from truecaller_vbc.token.holder import TokenHolder
from truecaller_vbc.token.schedule import Schedule, schedule_of

from .test_store_lost import ReadOnlyStore
from .virtual_time import run_virtual
from .world import World, world


@attrs.define(eq=False)
class Counter:
    """A sleeper that counts how often it was woken, and when."""

    due: float
    starts: bool = True
    woken: list[float] = attrs.field(factory=list[float])

    def __lt__(self, other: object) -> bool:
        return False

    def look(self) -> bool:
        """Note the time."""
        self.due = NEVER
        self.woken.append(asyncio.get_running_loop().time())
        return self.starts


@pytest.mark.parametrize(("starts", "at_once"), [(True, 10), (False, 200)])
def test_what_is_due_at_once_is_spread(starts: bool, at_once: int) -> None:
    """Thousands that are due at once are started a few at a time, and none is forgotten."""

    async def main() -> None:
        schedule = Schedule(asyncio.get_running_loop())
        sleepers = [Counter(5.0, starts) for _ in range(1_000)]
        for sleeper in sleepers:
            schedule.add(sleeper)
        await asyncio.sleep(20)
        times = [time for sleeper in sleepers for time in sleeper.woken]
        assert len(times) == 1_000
        assert max(times.count(time) for time in times) == at_once
        assert max(times) < 7

    run_virtual(main())


def test_an_earlier_time_replaces_a_later_one() -> None:
    """A sleeper that is added again is woken once, at its newest time."""

    async def main() -> None:
        schedule = schedule_of(asyncio.get_running_loop())
        assert schedule_of(asyncio.get_running_loop()) is schedule
        sleeper = Counter(5.0)
        schedule.add(sleeper)
        sleeper.due = 2.0
        schedule.add(sleeper)
        await asyncio.sleep(20)
        assert sleeper.woken == [2.0]

    run_virtual(main())


def test_idle_holders_have_no_task_and_one_timer() -> None:
    """Twenty holders with tokens have no task between refreshes, and share one timer. Each refreshes in time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        worlds = [World(store=MemoryStore()) for _ in range(20)]
        for it in worlds:
            it.holder.open(None)
            await it.holder.token()
        await asyncio.sleep(2)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len([timer for timer in loop._scheduled if not timer.cancelled()]) == 1  # type: ignore[attr-defined]
        await asyncio.sleep(3_590)
        assert [it.server.mints for it in worlds] == [2] * 20
        for it in worlds:
            await it.holder.close()
            assert it.holder.status().next_refresh_at is None

    run_virtual(main())


def test_bug_in_the_store_does_not_end_the_background(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception while the store is written again is logged once, and writing goes on."""

    async def main() -> None:
        store = ReadOnlyStore()
        async with world(store=store) as it:
            await it.holder.token()
            it.holder._minter.unsaved = True

            async def broken() -> None:
                raise RuntimeError("a bug")

            with monkeypatch.context() as patch:
                patch.setattr(TokenHolder, "save_back", lambda _: broken())
                await asyncio.sleep(300)
            assert it.holder.unsaved
            await asyncio.sleep(100)
            assert not it.holder.unsaved

    with caplog.at_level(logging.ERROR):
        run_virtual(main())
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_close_ends_a_write_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that is closed while the background writes to the store waits for the end of that write."""

    async def main() -> None:
        async with world(store=MemoryStore()) as it:
            await it.holder.token()
            it.holder._minter.unsaved = True
            monkeypatch.setattr(TokenHolder, "save_back", lambda _: asyncio.sleep(1e6))
            await asyncio.sleep(31)
            saving = it.holder._refresher._saving
            assert saving is not None
            await it.holder._refresher.stop()
            assert saving.cancelled()

    run_virtual(main())
