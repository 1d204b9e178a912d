"""The walk through the store: adopt, share, take the lease, and do without where it is down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
from yarl import URL

from truecaller_vbc import (
    Credentials,
    MemoryStore,
    MintQuotaExhaustedError,
    StoreError,
    StoreRefusedError,
    TokenEndpointError,
    TokenError,
    TokenPolicy,
)
from truecaller_vbc.token.ledger import Attempt, Outcome

from .virtual_time import EPOCH, run_virtual
from .world import CREDENTIALS, World, world


class FlakyStore(MemoryStore):
    """A memory store that can be down, slow, deaf for writes, or already leased."""

    __slots__ = ("answers_in_vain", "deaf", "down", "hangs", "keeps_leases", "refuses_writes")

    def __init__(self) -> None:
        super().__init__()
        self.down = self.hangs = self.deaf = self.keeps_leases = self.answers_in_vain = False
        self.refuses_writes = 0

    async def _pass(self, name: str) -> None:
        if self.hangs:
            await asyncio.sleep(1e9)
        if self.down or (self.deaf and name == "write") or (self.keeps_leases and name == "release"):
            raise StoreError("the store is on fire")

    async def read(self, key: str) -> str | None:
        await self._pass("read")
        return await super().read(key)

    async def write(self, key: str, document: str) -> bool:
        await self._pass("write")
        if self.refuses_writes:
            self.refuses_writes -= 1
            return False
        kept = await super().write(key, document)
        if self.answers_in_vain:
            raise StoreError("written, and nobody heard of it")
        return kept

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncIterator[bool]:
        await self._pass("lease")
        async with super().lease(key, seconds) as granted:
            yield granted
        await self._pass("release")


def test_second_session_adopts() -> None:
    """A fresh token in the document is adopted: no mint, the same anchor, an event that says so."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            token = await one.holder.token()
            await asyncio.sleep(1000)
            async with world(store=store, server=one.server) as two:
                assert token == await two.holder.token()
                assert two.kinds() == ["TokenAdopted"]
                assert one.server.mints == 1
                assert two.holder.status().generation == one.holder.status().generation
                assert two.holder.status().mints_in_window == 1

    run_virtual(main())


def test_another_base_url_is_another_document() -> None:
    """The token of a test system is worth nothing at the real one, and its mints do not count there."""

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


def test_a_fleet_that_starts_at_once_mints_once() -> None:
    """Of twenty sessions on one store one takes the lease; the others adopt when it has written."""

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


def test_shared_failure_is_raised_without_a_mint() -> None:
    """What one session has learned to fail, the others on its store do not try before its time."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one, world(store=store, server=one.server) as two:
            one.server.mood = "503"
            with pytest.raises(TokenEndpointError):
                await one.holder.token()
            with pytest.raises(TokenEndpointError):
                await two.holder.token()
            assert one.server.calls == 1

    run_virtual(main())


def test_crash_loop_stays_within_the_quota_and_backs_off() -> None:
    """A process that starts every ten seconds against a failing endpoint goes on counting where the last ended."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            one.server.mood = "lost"
            for _ in range(180):
                async with world(store=store, server=one.server) as it:
                    with pytest.raises(TokenError):
                        await it.holder.token()
                await asyncio.sleep(10)
            assert one.server.mints == 10
            assert one.server.refused_for_quota == 0

    run_virtual(main())


def test_kill_in_mid_mint_still_counts() -> None:
    """The attempt is in the store before the POST: a process that dies with it leaves its trace."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            one.server.mood = "hung"
            asyncio.get_running_loop().create_task(one.holder.token()).add_done_callback(lambda task: task.exception())
            await asyncio.sleep(1)
            text = next(iter(store._documents.values()))
            assert [attempt["outcome"] for attempt in json.loads(text)["attempts"]] == ["unknown"]
            assert CREDENTIALS.api_key not in text

    run_virtual(main())


def test_two_keys_of_one_account_share_the_ledger_and_no_token() -> None:
    """The quota is the account's, the rights are the key's."""

    async def main() -> None:
        store = MemoryStore()
        other = Credentials("account", "other", "secret")
        async with world(store=store) as one, world(store=store, server=one.server, source=other) as two:
            assert await one.holder.token() != await two.holder.token()
            assert two.holder.status().mints_in_window == 2
            assert two.holder.status().generation == 1

    run_virtual(main())


@pytest.mark.parametrize("trouble", ["down", "hangs"])
def test_store_that_is_down_takes_no_token_away(trouble: str) -> None:
    """With a valid token nobody notices; a stale one is not refreshed; after its end we mint for ourselves."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            first = await it.holder.token()
            setattr(store, trouble, True)
            while it.clock.now() < 3580:
                assert first == await it.holder.token()
                await asyncio.sleep(25)
            assert it.server.calls == 1

            await asyncio.sleep(20)
            second = await it.holder.token()
            assert first != second
            assert it.server.mints == 2
            assert it.kinds().count("StoreUnavailable") == 1
            assert "RefreshFailed" not in it.kinds()

            await asyncio.sleep(65)
            setattr(store, trouble, False)
            await asyncio.sleep(70)
            assert it.kinds()[-1] == "StoreRecovered"
            async with world(store=store, server=it.server) as other:
                assert second == await other.holder.token()
            document = json.loads(next(iter(store._documents.values())))
            assert len(document["attempts"]) + 1 == 2  # the first has left the window

    run_virtual(main())


def test_alone_is_still_within_the_own_ledger() -> None:
    """Without a store the last word is this process's own count."""

    async def main() -> None:
        store = FlakyStore()
        policy = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0)
        async with world(store=store, policy=policy) as it:
            await it.holder.token()
            store.down = True
            it.clock.suspend(1000)
            token = it.current()
            assert token is not None
            assert it.holder.rejected(token)
            with pytest.raises(MintQuotaExhaustedError):
                await it.holder.replacement(token)
            assert it.server.calls == 1

    run_virtual(main())


def test_write_that_fails_before_a_refresh_stops_it() -> None:
    """An attempt that cannot be entered is not made while the token at hand still serves."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            await it.holder.token()
            store.deaf = True
            await asyncio.sleep(3500)
            assert it.server.calls == 1
            assert it.holder.status().mints_in_window == 0

    run_virtual(main())


def test_write_that_fails_after_the_mint_loses_nothing() -> None:
    """A token that the store could not take is handed out, and brought to the store later."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            store.deaf = True
            token = await it.holder.token()
            assert store._documents == {}
            store.deaf = False
            await asyncio.sleep(31)
            async with world(store=store, server=it.server) as other:
                assert token == await other.holder.token()

    run_virtual(main())


def test_newer_document_is_not_overwritten_by_what_we_missed() -> None:
    """Back from an outage, a session finds a newer token than its own: it keeps that one in the store."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as one:
            await one.holder.token()
            healthy = MemoryStore()
            healthy._documents = store._documents
            store.down = True
            it = one
            it.clock.suspend(4000)
            await asyncio.sleep(2)
            async with world(store=healthy, server=one.server) as two:
                for _ in range(2):
                    newest = await two.holder.token()
                    it.clock.suspend(4000)
                    await asyncio.sleep(2)
                newest = await two.holder.token()
                await one.holder.token()
                store.down = False
                await asyncio.sleep(31)
                text = next(iter(store._documents.values()))
                assert str(newest.value) in text
                assert len(json.loads(text)["attempts"]) == 2

    run_virtual(main())


@pytest.mark.parametrize("step", [0.0, -86_400.0])
def test_what_others_began_after_a_loss_is_adopted(step: float) -> None:
    """A store that lost everything counts generations from one again; a newer token is newer all the same."""

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


def test_end_of_a_full_window_is_not_read_again_after_a_step() -> None:
    """What a stamp was taken for stays, though a write that would have replaced it failed: no wait begins anew."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            it.server.moods = ["429", "refused"]
            with pytest.raises(MintQuotaExhaustedError):
                await it.holder.token()
            await asyncio.sleep(2000)
            store.deaf = True
            with pytest.raises(TokenEndpointError):
                await it.holder.token()
            store.deaf = False
            it.clock.step(-3600)
            await asyncio.sleep(10)
            await it.holder.token()

    run_virtual(main())


def test_refused_write_is_put_on_top_of_the_newer_document() -> None:
    """A store that compares revisions may refuse; then the document is read again and written anew."""

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


def test_a_write_that_failed_and_arrived_counts_no_attempt() -> None:
    """A refresh stands aside, since it cannot say that it is about to mint; the store heard it all the same."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            await it.holder.token()
            store.answers_in_vain = True
            for _ in range(8):
                it.holder.state.used = True
                it.holder.state.postpone_refresh(it.clock.now())
                await it.holder.refresh()
                await asyncio.sleep(1)
            store.answers_in_vain = False
            await it.holder._minter.save_back()
            assert it.server.mints == 1
            assert it.holder.status().mints_in_window == 1
            async with world(store=store, server=it.server) as other:
                await other.holder.token()
                assert other.holder.status().mints_in_window == 1

    run_virtual(main())


def test_what_was_entered_is_forgotten_with_its_window() -> None:
    """However long a shared store is down."""

    async def main() -> None:
        async with world(store=MemoryStore()) as it:
            state = it.holder.state
            for number in range(1000):
                state.enter(Attempt(str(number), it.clock.now(), Outcome.UNSENT), it.clock.now())
                await asyncio.sleep(60)
            assert len(state.ledger.attempts) < 40

    run_virtual(main())


def test_an_outage_of_a_fleet_fills_no_document() -> None:
    """Thousands of attempts in one window, none of which reached the server: the token of the next is adopted."""

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


def test_lease_that_never_ends_is_a_typed_error() -> None:
    """Somebody keeps the lease for longer than two leases last: callers get an error with a time, and no mint."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as it:
            key = it.holder._minter._key
            async with store.lease(key, 1e9):
                with pytest.raises(TokenEndpointError, match="lease"):
                    await it.holder.token()
            assert it.server.calls == 0
            assert it.clock.now() > 60

    run_virtual(main())


def test_lease_that_cannot_be_given_back_costs_no_token() -> None:
    """A store that fails at the release fails after the token was had."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            store.keeps_leases = True
            await it.holder.token()
            assert it.server.mints == 1
            assert "StoreUnavailable" in it.kinds()

    run_virtual(main())


def test_lease_that_could_not_be_given_back_hides_no_attempt() -> None:
    """A release that failed says nothing of reads and writes: the next attempt is in the store before the POST."""

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


def test_document_that_is_none_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """A document that cannot be read is said so in the log, is never fatal, and is replaced by the next mint."""

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


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_other_processes_clock_was_stepped(step: float) -> None:
    """Stamps from the future are trusted for one lifetime at most, and a future attempt leaves after one window."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one:
            one.clock.step(-step)
            token = await one.holder.token()
            one.clock.step(step)
            async with world(store=store, server=one.server) as two:
                adopted = await two.holder.token()
                if step > 0:
                    assert token.value != adopted.value  # by its stamps it ended an hour ago
                    return
                assert token.value == adopted.value
                assert pytest.approx(3600, abs=1) == adopted.expires_at.timestamp() - two.clock.wall()
                assert two.holder.status().mints_in_window == 1
                two.clock.suspend(1831)
                assert two.holder.status().mints_in_window == 0

    run_virtual(main())


@pytest.mark.parametrize("step", [-3600.0, 1800.0])
def test_the_wall_clock_is_set_in_mid_mint(step: float) -> None:
    """A stamp is written as the wall clock stands then: nobody who adopts the token takes it for younger, or older."""

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
    """A store that people must mend."""

    __slots__ = ("refuses",)

    def __init__(self) -> None:
        super().__init__()
        self.refuses: set[str] = set()

    async def read(self, key: str) -> str | None:
        if "read" in self.refuses:
            raise StoreRefusedError("mend it")
        return await super().read(key)

    async def write(self, key: str, document: str) -> bool:
        if "write" in self.refuses:
            raise StoreRefusedError("mend it")
        return await super().write(key, document)


def test_store_that_refuses_is_told_to_callers_only() -> None:
    """Callers without a token hear of it; a refresh waits; the token at hand serves on, and nothing is minted."""

    async def main() -> None:
        store = RefusingStore()
        async with world(store=store) as it:
            store.refuses = {"read"}
            for _ in range(2):
                with pytest.raises(StoreRefusedError, match="mend it"):
                    await it.holder.token()
            assert it.server.calls == 0

            store.refuses = set()
            token = await it.holder.token()
            store.refuses = {"read"}
            while it.clock.now() < 3580:
                assert await it.holder.token() == token
                await asyncio.sleep(25)
            store.refuses = set()
            await asyncio.sleep(80)
            assert await it.holder.token() != token
            assert it.server.calls == 2

    run_virtual(main())


def test_store_that_refuses_after_the_mint_loses_no_token() -> None:
    """What was paid for is handed out, kept, and brought to the store when it is mended."""

    async def main() -> None:
        store = RefusingStore()
        async with world(store=store) as it:
            store.refuses = {"write"}
            token = await it.holder.token()
            await asyncio.sleep(100)
            assert store._documents == {}
            store.refuses = set()
            await asyncio.sleep(31)
            assert str(token.value) in next(iter(store._documents.values()))

    run_virtual(main())


def test_what_others_write_is_read_forgivingly() -> None:
    """An outcome that nobody knows counts, a stamp that is none is replaced, and a full window is everybody's."""

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


def test_lease_of_another_is_respected_when_bringing_back() -> None:
    """While somebody else mints, what we missed waits for the next slice."""

    async def main() -> None:
        store = FlakyStore()
        async with world(store=store) as it:
            store.deaf = True
            await it.holder.token()
            store.deaf = False
            key = it.holder._minter._key
            async with MemoryStore.lease(store, key, 60) as granted:
                assert granted
                await asyncio.sleep(65)
                assert store._documents == {}
            await asyncio.sleep(31)
            assert len(store._documents) == 1

    run_virtual(main())
