"""Test what a process believes of the times in a shared document."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truecaller_vbc import Credentials, MemoryStore, TokenPolicy
from truecaller_vbc.stores.protocol import revision_of
from truecaller_vbc.token import clock as clocks
from truecaller_vbc.token.clock import BootClock, DocumentClock, machine_id
from truecaller_vbc.token.document import Document, StoredClock, dump, load
from truecaller_vbc.token.endpoint import Answer, MintResult
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.known_tokens import CurrentToken
from truecaller_vbc.token.ledger import Attempt, Outcome
from truecaller_vbc.token.state import AccountState, Mint, RefreshMode

from .virtual_time import LoopClock, run_virtual
from .world import world

POLICY: Final = TokenPolicy()
WINDOW: Final = POLICY.mint_window.total_seconds()
LEASE: Final = POLICY.lease.total_seconds()
LIFETIME: Final = POLICY.lifetime.total_seconds()
HOUR, DAY, YEAR = 3600.0, 86_400.0, 31_536_000.0
WALL: Final = 1.79e9
PROCESSES: Final = 25


class Process:
    """A process without I/O: its state, and the document that it reads and writes."""

    def __init__(self, shared: Shared, off: float = 0.0) -> None:
        self.shared = shared
        self.off = off
        self.state = AccountState(POLICY)
        self.state.credentials = Credentials("account", "key", "secret")
        self.exchange = Exchange(self.state, POLICY)

    def asks(self) -> bool:
        """Do what `Minter` does for a caller without a token. Return whether it got one."""
        self.reads()
        if self.exchange.doubtful:
            self.reads()
            self.writes()
            self.reads()
        step = self.state.next_step(self.shared.now, self.shift, RefreshMode.MANDATORY)
        if isinstance(step, Mint):
            self.mints()
        return isinstance(step, Mint | CurrentToken)

    @property
    def shift(self) -> float:
        return WALL + self.off

    def reads(self) -> None:
        try:
            document = load(self.shared.text)
        except ValueError:
            document = Document(revision=max(0, revision_of(self.shared.text)))
        self.exchange.merge_document(document, self.shared.now, self.shift)

    def mints(self) -> None:
        now = self.shared.now
        attempt = Attempt(f"a{len(self.shared.mints)}", now + LEASE)
        self.state.enter(attempt, now)
        self.writes()
        self.shared.mints.append(now)
        answer = Answer(Outcome.MINTED, MintResult(f"t{len(self.shared.mints)}", None, 0.0))
        self.state.answered(attempt, answer, now, now, self.shift)
        self.writes()

    def writes(self) -> None:
        document = self.exchange.to_document(self.shared.now, self.shift)
        if document.revision > revision_of(self.shared.text):
            self.shared.text = dump(document)
            self.exchange.document_saved(document)


@attrs.define
class Shared:
    """The document, and the time."""

    now: float = 1000.0
    text: str | None = None
    mints: list[float] = attrs.field(factory=list[float])


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _numbers(inner, (*path, index))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def _put(document: Any, path: tuple[Any, ...], value: object) -> None:
    for name in path[:-1]:
        document = document[name]
    document[path[-1]] = value


def _document(*, with_token: bool) -> dict[str, Any]:
    """Return a document with a value in each field."""
    shared = Shared()
    Process(shared).asks()
    document: dict[str, Any] = json.loads(shared.text or "")
    document["full_until"] = WALL + 1000.0
    document["attempts"] *= 10
    document["attempts"] = [{**entry, "id": f"i{n}"} for n, entry in enumerate(document["attempts"])]
    (key,) = document["keys"].values()
    failure = {"kind": "TokenEndpointError", "message": "x", "retry_at": WALL + 900, "count": 1, "api_key": None}
    key["failure"] = failure
    if not with_token:
        key["token"] = None
    return document


PATHS: Final = list(_numbers(_document(with_token=True)))
KINDS: Final = sorted({str(path[-1]) for path in PATHS})
VALUES: Final[list[Any]] = [
    *(0, -1, 1, 2**31, 2**50, 2**51 - 1, 2**51, 2**52 - 1, 2**53, 2**63, 10**18, 10**400, -(10**400), 1e300, -1e300),
    *(float("nan"), float("inf"), "soon", "", "17", None, [], {}, True),
    *(WALL + 1000.0 + after for after in (0, 10, WINDOW, HOUR, 5 * HOUR, DAY - 1, DAY, DAY + 100, YEAR, 100 * YEAR)),
    *(WALL + 1000.0 - before for before in (10, WINDOW, HOUR, DAY, YEAR)),
]


@pytest.mark.parametrize("long_lived", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("with_token", [False, True], ids=["empty", "token"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_number_in_a_document_starves_a_process(kind: str, *, with_token: bool, long_lived: bool) -> None:
    """Whatever a kind of number says, callers wait for a window at most, and one mint more than needed is made."""
    for value in VALUES:
        document = _document(with_token=with_token)
        for path in _numbers(document):
            if path[-1] == kind:
                _put(document, path, value)
        _is_overcome(document, long_lived=long_lived)


@pytest.mark.parametrize("field", ["clocks", "attempts"])
def test_a_long_text_in_place_of_a_list_is_refused_at_once(field: str) -> None:
    """Its first character is wrong already: the others are not looked at, which would block the loop for seconds."""
    text = json.dumps({"revision": 1, field: "x" * 20_000})
    with pytest.raises(ValueError, match="not a token document"):
        load(text)  # makes the converter
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with pytest.raises(ValueError, match="not a token document"):
            load(text)
    finally:
        sys.setprofile(before)
    assert calls < 2_000


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(PATHS), st.sampled_from(VALUES) | st.floats() | st.integers(), max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_no_numbers_together_starve_a_process(
    poison: dict[tuple[Any, ...], Any],
    with_token: bool,
    long_lived: bool,
) -> None:
    """The same of several numbers at once."""
    document = _document(with_token=True)
    for path, value in poison.items():
        _put(document, path, value)
    if not with_token:
        for key in document["keys"].values():
            key["token"] = None
    _is_overcome(document, long_lived=long_lived)


def _is_overcome(document: dict[str, Any], *, long_lived: bool) -> None:
    shared = Shared(text=json.dumps(document))
    process = Process(shared)
    begin, served_at, served = shared.now, shared.now, 0
    for _ in range(PROCESSES):
        process = process if long_lived else Process(shared)
        if process.asks():
            served_at, served = shared.now, served + 1
        else:
            assert shared.now - served_at <= WINDOW + 2 * LEASE + 60, shared.text
        shared.now += WINDOW / 8
    needed = 1 + (shared.now - begin) // (LIFETIME - 10)
    assert served >= PROCESSES - 10
    assert len(shared.mints) <= needed + 1, (shared.mints, shared.text)
    last = Process(shared)
    last.reads()
    assert not last.exchange.doubtful


def test_short_processes_see_the_time_pass() -> None:
    """Attempts of a clock that was 20 hours ahead leave the window for short processes of a machine that is right."""
    shared = Shared()
    ahead = Process(shared, off=20 * HOUR)
    for _ in range(POLICY.max_mints):
        ahead.reads()
        ahead.mints()
        ahead.state.rejections.remember(f"t{len(shared.mints)}")
    document = json.loads(shared.text or "")
    next(iter(document["keys"].values()))["token"] = None
    shared.text = json.dumps(document)
    served = []
    for _ in range(20):
        shared.now += WINDOW / 8
        served.append(Process(shared).asks())
    assert served.index(True) <= 8
    assert all(served[8:])
    assert len(shared.mints) == POLICY.max_mints + 1


def test_two_machines_that_take_turns_see_the_time_pass() -> None:
    """Each machine finds its own reading of the clock, however many others wrote since."""
    shared = Shared()
    ahead = Process(shared, off=HOUR)
    for _ in range(POLICY.max_mints):
        ahead.reads()
        ahead.mints()
    document = json.loads(shared.text or "")
    next(iter(document["keys"].values()))["token"] = None
    shared.text = json.dumps(document)
    served = []
    for turn in range(20):
        shared.now += WINDOW / 8
        served.append(Process(shared, off=-700.0 * (turn % 2)).asks())
    assert True in served[:12]
    assert len(shared.mints) == POLICY.max_mints + 1


# The clock of a document


def _clock() -> DocumentClock:
    return DocumentClock(60.0, AccountState(TokenPolicy()).log)


def _read(clock: DocumentClock, now: float, wall: float, **known: Any) -> float:
    return clock.read(now, wall, **{"written_at": None, "reading": None, "store": None, **known})


def test_time_of_the_last_write_is_the_least() -> None:
    """A process that is behind takes the time of the last write, and measures from there."""
    clock = _clock()
    assert _read(clock, 10, WALL, written_at=WALL + HOUR) == WALL + HOUR
    assert clock.unsure
    assert _read(clock, 110, WALL + 100, written_at=WALL + HOUR) == WALL + HOUR + 100
    assert _read(clock, 120, WALL + 110, written_at=WALL + 2 * HOUR) == WALL + 2 * HOUR


def test_reading_of_this_machine_measures() -> None:
    """With a reading of its own machine in the document, no wall clock decides."""
    reading = StoredClock("m", 10.0, WALL)
    for off in (-HOUR, 0.0, HOUR):
        clock = _clock()
        assert _read(clock, 60, WALL + 50 + off, written_at=WALL, reading=reading) == WALL + 50
        assert not clock.unsure
        assert not clock.wrong


@pytest.mark.parametrize(
    ("reading", "wrong"),
    [
        (StoredClock("m", 1000.0, WALL), False),  # of the future: the machine has started again
        (StoredClock("m", 10.0, WALL - HOUR), False),  # another machine has written since
        (StoredClock("m", 10.0, WALL + YEAR), True),
        (StoredClock("m", -1e9, WALL), True),
    ],
)
def test_reading_that_tells_nothing(reading: StoredClock, wrong: bool) -> None:
    """A reading that cannot be true is not used."""
    clock = _clock()
    assert _read(clock, 60, WALL + 50, written_at=WALL + 200, reading=reading) == WALL + 200
    assert clock.unsure
    assert clock.wrong is wrong


def test_write_of_the_far_future_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    """A document that was written over a day ahead tells nothing, and is warned of once."""
    clock = _clock()
    for _ in range(2):
        assert _read(clock, 10, WALL, written_at=WALL + YEAR) == WALL
        assert clock.wrong
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "NTP" in caplog.text


def test_wall_clock_that_jumps_over_a_day_is_followed() -> None:
    """A process does not go on with a time that others would not believe."""
    clock = _clock()
    assert _read(clock, 10, WALL) == WALL
    assert _read(clock, 20, WALL + HOUR) == WALL + 10
    assert _read(clock, 30, WALL - YEAR) == WALL - YEAR


def test_store_has_the_last_word() -> None:
    """The store's own clock decides, and what was read of it goes on if it does not answer."""
    clock = _clock()
    assert _read(clock, 10, WALL, written_at=WALL + HOUR, store=WALL - HOUR) == WALL - HOUR
    assert not clock.unsure
    assert _read(clock, 20, WALL + 10, written_at=WALL + HOUR) == WALL - HOUR + 10


def test_machine_is_named_by_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes since the start of a machine have the same name for its clock; other clocks have none."""
    assert machine_id(LoopClock(lambda: time.monotonic() + 1e6)) is None
    if hasattr(time, "CLOCK_BOOTTIME"):
        name = machine_id(BootClock())
        assert name == machine_id(BootClock())
        assert name == machine_id(LoopClock(BootClock().now))
        monkeypatch.setattr(clocks, "_boot_id", lambda: None)
        assert machine_id(BootClock()) is None


def test_boot_id_of_another_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A system without a boot ID has none."""
    monkeypatch.setattr(clocks, "_BOOT_ID", tmp_path / "boot_id")
    assert clocks._boot_id.__wrapped__() is None
    (tmp_path / "boot_id").write_text("0")
    assert clocks._boot_id.__wrapped__() == "0"


# Through the minter


class ClockedStore(MemoryStore):
    """A memory store with a clock."""

    __slots__ = ("time",)

    def __init__(self, time: Any) -> None:
        super().__init__()
        self.time = time

    async def now(self) -> Any:
        if isinstance(self.time, Exception):
            raise self.time
        return self.time


@pytest.mark.parametrize("time", [WALL - HOUR, float("nan"), "noon", 1e300, True, OSError(5, "no clock")])
def test_clock_of_a_store_is_asked(time: Any) -> None:
    """A number is taken as the time; anything else as no answer."""

    async def main() -> float:
        store = ClockedStore(time)
        async with world(store=store) as it:
            await it.holder.token()
            assert it.server.mints == 1
            (text,) = store._documents.values()
            return float(json.loads(text)["written_at"] - it.clock.wall())

    off = run_virtual(main())
    assert (abs(off) > 60) is (time == WALL - HOUR)


def test_repair_waits_for_no_store() -> None:
    """A document with impossible times is used without them, even if the store takes no repair."""

    class ReadOnly(MemoryStore):
        async def write(self, key: str, document: str) -> bool:
            raise OSError(30, "read-only")

    async def main() -> None:
        store = ReadOnly()
        async with world(store=store) as it:
            document = _document(with_token=True)
            wall = it.clock.wall()
            document["written_at"], document["full_until"] = wall, wall + YEAR
            (key,) = document["keys"].values()
            key["token"]["starts_at"], key["failure"] = wall, None
            store._documents[it.holder._minter._key] = json.dumps(document)
            assert (await it.holder.token()).value == "t1"
            assert it.server.mints == 0

    run_virtual(main())
