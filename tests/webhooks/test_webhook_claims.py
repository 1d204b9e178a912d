"""The rules of claims, at each of the three places."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc import ClaimLostError, ConfigurationError, StoreError, StoreRefusedError
from truecaller_vbc.webhooks import ClaimState, MemoryClaims, Receiver, RedisClaims, SQLiteClaims

from ..redis_server import redis_server

NewClaims = Callable[..., Any]


async def test_claim_settle_and_duplicate(new_claims: NewClaims) -> None:
    """One claim is granted; while it runs the others wait; once settled, the event is done."""
    claims = new_claims()

    assert await claims.claim("a", "one", 60) is ClaimState.GRANTED
    assert await claims.claim("a", "two", 60) is ClaimState.RUNNING
    await claims.settle("a", "one")
    assert await claims.claim("a", "three", 60) is ClaimState.DONE
    assert await claims.claim("b", "four", 60) is ClaimState.GRANTED


async def test_release(new_claims: NewClaims) -> None:
    """A released event can be claimed again; only its owner releases it."""
    claims = new_claims()
    await claims.claim("a", "one", 60)
    await claims.release("a", "two", 0)
    assert await claims.claim("a", "two", 60) is ClaimState.RUNNING
    await claims.release("a", "one", 0)

    assert await claims.claim("a", "two", 60) is ClaimState.GRANTED


async def test_lease_ends(new_claims: NewClaims) -> None:
    """The claim of a dead process ends, and its late settling or release does nothing to the next owner."""
    claims = new_claims()
    await claims.claim("a", "dead", 0.01)
    await asyncio.sleep(0.02)

    assert await claims.claim("a", "next", 60) is ClaimState.GRANTED
    with pytest.raises(ClaimLostError, match="lease="):
        await claims.settle("a", "dead")
    await claims.release("a", "dead", 0)
    assert await claims.claim("a", "third", 60) is ClaimState.RUNNING
    await claims.settle("a", "next")


async def test_claims_of_many_at_once(new_claims: NewClaims) -> None:
    """Of 50 claims for one event at the same time, one is granted."""
    claims = new_claims()
    states = await asyncio.gather(*(claims.claim("a", f"owner {number}", 60) for number in range(50)))

    assert states.count(ClaimState.GRANTED) == 1
    assert states.count(ClaimState.RUNNING) == 49


async def test_settled_events_are_bounded(new_claims: NewClaims) -> None:
    """Only the newest are remembered, and none beyond its time."""
    claims = new_claims(most=3)
    for name in "abcde":
        await claims.claim(name, name, 60)
        if isinstance(claims, SQLiteClaims):
            claims._prune_at = 0.0
        await claims.settle(name, name)
        await asyncio.sleep(0.002)

    states = [await claims.claim(name, "again", 60) for name in "abcde"]
    assert states == [ClaimState.GRANTED] * 2 + [ClaimState.DONE] * 3


async def test_settled_events_are_forgotten(new_claims: NewClaims) -> None:
    """An event is not remembered longer than `keep`."""
    claims = new_claims(keep=0.01)
    await claims.claim("a", "one", 60)
    await claims.settle("a", "one")
    await asyncio.sleep(0.02)

    assert await claims.claim("a", "two", 60) is ClaimState.GRANTED


async def test_commit_work_that_fails(new_claims: NewClaims) -> None:
    """If the work raises, the event is not settled."""
    claims = new_claims()
    await claims.claim("a", "one", 60)

    def work(_: Any) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await claims.settle("a", "one", work)
    assert await claims.claim("a", "two", 60) is ClaimState.RUNNING
    await claims.settle("a", "one", lambda _: None)
    assert await claims.claim("a", "two", 60) is ClaimState.DONE


async def test_commit_without_the_claim(new_claims: NewClaims) -> None:
    """Without the claim the work has no effect."""
    claims = new_claims()
    await claims.claim("a", "one", 0.01)
    await asyncio.sleep(0.02)
    await claims.claim("a", "two", 60)
    done: list[Any] = []

    with pytest.raises(ClaimLostError):
        await claims.settle("a", "one", done.append)
    assert done == []


async def test_stored_events(place: NewClaims) -> None:
    """A stored event is taken once, survives the end of its process, and is gone when it was settled."""
    first, second = place(), place()
    assert await first.claim("a", "x", 60, b"body") is ClaimState.GRANTED
    assert await first.claim("a", "y", 60, b"body") is ClaimState.DONE
    assert await second.claim("a", "z", 60) is ClaimState.DONE
    assert await first.take("dead", 0.2) == ("a", b"body")
    assert await second.take("early", 60) is None
    await asyncio.sleep(0.25)
    assert await second.take("next", 60) == ("a", b"body")
    await second.release("a", "next", 0.0)
    assert await second.take("third", 60) == ("a", b"body")
    await second.settle("a", "third")
    assert await first.take("late", 60) is None
    assert await first.claim("a", "late", 60, b"body") is ClaimState.DONE
    await first.close()
    await second.close()


async def test_no_room_for_stored_events(place: NewClaims) -> None:
    """What does not fit must come again."""
    claims = place(most=2)
    states = [await claims.claim(name, name, 60, b"body") for name in "abc"]
    await claims.close()

    assert states == [ClaimState.GRANTED, ClaimState.GRANTED, ClaimState.RUNNING]


async def test_commit_in_a_file(tmp_path: Path) -> None:
    """The work gets the connection, and its effect ends with the transaction if it raises."""
    path = tmp_path / "claims.db"
    claims = SQLiteClaims(path)
    await claims.claim("a", "one", 60)
    await claims.settle("a", "one", lambda db: db.execute("CREATE TABLE mine (x)"))
    await claims.claim("b", "one", 60)

    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO mine VALUES (1)")
        db.execute("CREATE UNIQUE INDEX only_one ON mine (x)")
        db.execute("INSERT INTO mine VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        await claims.settle("b", "one", fail)
    await claims.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT * FROM mine").fetchall() == []
    db.close()


async def test_commit_in_redis(redis: str) -> None:
    """The commands of the work are done with the settling; a claim that was taken meanwhile stops them."""
    claims = RedisClaims(redis, prefix="commit")
    other = RedisClaims(redis, prefix="commit")
    client = claims._connected()
    await claims.claim("a", "one", 60)
    await claims.settle("a", "one", lambda pipe: pipe.rpush("{commit}:mine", "a"))
    await claims.claim("b", "one", 60)

    def work(pipe: Any) -> None:
        """Let another receiver take the claim over between the check and the transaction."""
        execute = pipe.execute

        async def late() -> Any:
            await other.release("b", "one", 0)
            await other.claim("b", "two", 60)
            return await execute()

        pipe.rpush("{commit}:mine", "b")
        pipe.execute = late

    with pytest.raises(ClaimLostError):
        await claims.settle("b", "one", work)
    assert await client.lrange("{commit}:mine", 0, -1) == [b"a"]
    await claims.close()
    await other.close()


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
async def test_files_are_private(tmp_path: Path) -> None:
    """All files have the mode 0600; one that others can read is refused."""
    claims = SQLiteClaims(tmp_path / "new" / "claims.db")
    await claims.claim("a", "one", 60)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    await claims.close()
    (tmp_path / "new" / "claims.db").chmod(0o644)

    assert set(modes.values()) == {0o600}
    with pytest.raises(StoreRefusedError, match="chmod 600"):
        await claims.claim("b", "one", 60)
    await claims.close()


async def test_file_that_is_none_of_ours(tmp_path: Path) -> None:
    """A file that is not SQLite, such as a token file, is refused and left as it is."""
    path = tmp_path / "token.json"
    path.write_text('{"documents": {}}' * 100)
    path.chmod(0o600)
    claims = SQLiteClaims(path)

    with pytest.raises(StoreRefusedError, match="file of its own"):
        await claims.claim("a", "one", 60)
    await claims.close()
    assert path.read_text().startswith('{"documents"')


async def test_redis_that_is_down() -> None:
    """An outage is a StoreError, and a new claim works after it."""
    with redis_server() as server:
        claims = RedisClaims(server.url)
        assert await claims.claim("a", "one", 60) is ClaimState.GRANTED
        server.kill()
        with pytest.raises(StoreError):
            await claims.claim("b", "one", 60)
        server.start()
        assert await claims.claim("b", "one", 60) is ClaimState.GRANTED
        await claims.close()


def test_redis_on_another_loop(redis: str) -> None:
    """Claims with a URL work on one event loop after the other."""
    claims = RedisClaims(redis, prefix="loops")

    async def claim(name: str) -> ClaimState:
        state = await claims.claim(name, "one", 60)
        await claims.close()
        return state

    assert [asyncio.run(claim(name)) for name in "ab"] == [ClaimState.GRANTED] * 2


@pytest.mark.parametrize("seen", ["mysql://x", "file://relative/path", 3])
def test_unknown_places(seen: Any) -> None:
    """A place that is none is named by the error."""
    with pytest.raises(ConfigurationError, match="seen="):
        Receiver(key="k", seen=seen)


def test_places_by_url(redis: str, tmp_path: Path) -> None:
    """The URLs are those of the token stores."""
    kinds = [
        type(Receiver(key="k", seen=seen)._claims)
        for seen in (None, "memory://", f"file://{tmp_path}/claims.db", redis)
    ]

    assert kinds == [MemoryClaims, MemoryClaims, SQLiteClaims, RedisClaims]
