"""Keep the state of a push in one file, and refuse files that cannot be trusted."""

from __future__ import annotations

import io
import os
import sqlite3
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truecaller_vbc.cli.calls import state as state_module
from truecaller_vbc.cli.calls.state import (
    BatchRow,
    PushFacts,
    StateError,
    create_state,
    facts_differ,
    is_state,
    open_state,
    set_aside,
)
from truecaller_vbc.errors import ConfigurationError


def facts(records: int = 1_234) -> PushFacts:
    return PushFacts(fingerprint="f", records=records, rules={"country": "IN"}, account="a", base_url="https://x.test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_state(tmp_path / "calls.csv.push", facts())
    return tmp_path / "calls.csv.push"


def test_a_new_state_has_all_batches_and_is_private(path: Path) -> None:
    """It is readable by its owner only, and no other file is left beside it."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [it.name for it in path.parent.iterdir()] == [path.name]
    with open_state(path) as state:
        assert state.facts == attrs_without_date(state.facts)
        assert [(it.first, it.size, it.state) for it in state.batches()] == [
            (0, 500, "open"),
            (500, 500, "open"),
            (1000, 234, "open"),
        ]
        assert state.has_sent_nothing
        assert not state.is_finished


def attrs_without_date(found: PushFacts) -> PushFacts:
    return PushFacts(
        fingerprint="f",
        records=1_234,
        rules={"country": "IN"},
        account="a",
        base_url="https://x.test",
        begun=found.begun,
    )


def test_a_push_without_records_is_finished(tmp_path: Path) -> None:
    """A day without calls leaves nothing to send."""
    create_state(tmp_path / "s", facts(0))
    with open_state(tmp_path / "s") as state:
        assert state.is_finished
        assert state.has_sent_nothing
        assert sum(state.totals().values()) == 0


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    """What has the name keeps its content."""
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ConfigurationError, match="--state"):
        create_state(tmp_path / "s", facts())
    assert (tmp_path / "s").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_steps_are_kept(path: Path) -> None:
    """What was recorded is read by the next run."""
    with open_state(path) as state:
        first, second, third = state.batches()
        state.sending(first, {3: "bad"})
        state.answered(first._replace(state="acknowledged", batch_id="b1"), {3: "bad"})
        state.sending(second, {})
        state.answered(third._replace(state="refused", error="HTTP 400"), {})
    with open_state(path) as state:
        assert state.totals() == {
            "success": 0,
            "failed": 0,
            "acknowledged": 499,
            "refused": 234,
            "unknown": 500,
            "unsent": 0,
            "invalid": 1,
        }
        assert state.reasons() == {("invalid", "bad"): 1, ("refused", "HTTP 400"): 234}
        assert state.batches("acknowledged")[0].batch_id == "b1"
        assert state.is_finished
        assert not state.has_sent_nothing


def test_doubt_lasts_until_an_acknowledgement(path: Path) -> None:
    """A batch acknowledged before the lost answer proves nothing."""
    with open_state(path) as state:
        first, second, third = state.batches()
        assert not state.is_in_doubt
        state.answered(first._replace(state="acknowledged", batch_id="b1"), {})
        state.sending(second, {})
        assert state.is_in_doubt
        state.answered(second._replace(state="unknown", error="HTTP 503"), {})
        assert state.is_in_doubt
        state.answered(third._replace(state="acknowledged", batch_id="b3"), {})
        assert not state.is_in_doubt
        assert state.reopen_unknown() == 500
        assert [it.first for it in state.batches("open")] == [500]


def test_a_batch_is_cut_in_two(path: Path) -> None:
    """Both parts can be sent, and the rows stay where they are."""
    with open_state(path) as state:
        first = state.batches()[0]
        state.sending(first, {7: "bad"})
        assert state.split(first, 123) == (BatchRow(0, 123, "open"), BatchRow(123, 377, "open"))
        assert state.totals()["invalid"] == 1
        assert not state.is_in_doubt
    with open_state(path) as state:
        assert sum(it.size for it in state.batches()) == 1_234


def test_what_the_api_tells_is_kept_in_short(path: Path) -> None:
    """Successes of a batch that is final as a whole take no room."""
    told = {0: ("success", ""), 1: ("failed", "Not a Truecaller user"), 2: ("success", "")}
    with open_state(path) as state:
        batch = state.batches()[0]._replace(state="acknowledged", batch_id="b")
        state.answered(batch, {4: "bad"})
        state.told(batch, told, final=False)
        assert state.totals() | {"unsent": 0} == Counter(success=2, failed=1, acknowledged=496, invalid=1) | {
            "refused": 0,
            "unknown": 0,
            "unsent": 0,
        }
        state.told(batch, told, final=True)
        assert state.outcomes(batch) == {1: ("failed", "Not a Truecaller user"), 4: ("invalid", "bad")}
        assert (state.totals()["success"], state.totals()["failed"]) == (498, 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["acknowledged", "refused", "unknown", "unsent"]))))
@settings(deadline=None, max_examples=25)
def test_totals_count_each_row_once(steps: list[tuple[int, str]]) -> None:
    """However the batches end, the counts add up to the rows of the input."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(state_module._SCHEMA)
    database.executemany(
        "INSERT INTO push VALUES (?, ?)",
        [("fingerprint", '"f"'), ("records", "5000"), ("rules", "{}"), ("account", '"a"'), ("base_url", '"u"')],
    )
    state_module._insert(database, [BatchRow(first, 500, "open") for first in range(0, 5000, 500)])
    state = state_module.PushState(Path("s"), database)
    for number, word in steps:
        batch = state.batches()[number]
        state.sending(batch, {batch.first + 1: "bad"} if number % 2 else {})
        state.answered(batch._replace(state=word), {batch.first + 1: "bad"} if number % 2 else {})  # type: ignore[arg-type]
        assert sum(state.totals().values()) == 5000
    assert state.totals()["invalid"] == len({number for number, _ in steps if number % 2})


@pytest.mark.parametrize("size", [0, 1, 15, 16, 50, 99, 100, 4096, 8192, 12288])
def test_a_file_that_lost_its_end_is_refused(path: Path, size: int) -> None:
    """What was sent cannot be told then, wherever the cut is."""
    os.truncate(path, size)
    with pytest.raises(ConfigurationError, match=r"nothing is sent.*--state"), open_state(path):
        pass
    assert path.stat().st_size == size


def test_garbage_inside_is_refused(path: Path) -> None:
    """A damaged page does not pass."""
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="damaged"), open_state(path):
        pass


def test_a_state_that_lost_batches_is_refused(path: Path) -> None:
    """The batches must cover the whole input."""
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM batches WHERE first = 500")
    database.close()
    with pytest.raises(ConfigurationError, match="damaged"), open_state(path):
        pass


@pytest.mark.parametrize("content", [b"receiver\n+911234567890\n", b"SQLite format 3\0" + bytes(4096)])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file of the user's is not touched."""
    path = tmp_path / "s"
    path.write_bytes(content)
    assert not is_state(path)
    with pytest.raises(ConfigurationError, match="another kind of file"), open_state(path):
        pass
    assert path.read_bytes() == content


def test_another_database_is_refused(tmp_path: Path) -> None:
    """A SQLite file of another program is another kind of file."""
    with sqlite3.connect(tmp_path / "s") as database:
        database.execute("CREATE TABLE push (name, value)")
    database.close()
    with pytest.raises(ConfigurationError, match="another kind of file"), open_state(tmp_path / "s"):
        pass


def test_a_newer_state_is_refused(path: Path) -> None:
    """An older program cannot know what a newer one has written."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(ConfigurationError, match=r"newer version.*nothing is sent"), open_state(path):
        pass


def test_a_directory_and_a_missing_file_are_named(tmp_path: Path) -> None:
    """Each has its own message."""
    with pytest.raises(ConfigurationError, match="is no file"), open_state(tmp_path):
        pass
    with pytest.raises(ConfigurationError, match="no state of a push"), open_state(tmp_path / "missing"):
        pass


def test_a_write_that_fails_is_an_error_and_changes_nothing(path: Path) -> None:
    """A batch that cannot be recorded must not be sent."""
    with open_state(path) as state:
        state._database.execute("PRAGMA max_page_count = 1")
        state._database.execute("PRAGMA query_only = ON")
        with pytest.raises(StateError, match="cannot be written"):
            state.sending(state.batches()[0], {})
        assert state.has_sent_nothing


def test_standard_input_is_kept_inside(tmp_path: Path) -> None:
    """It can be had again, byte by byte."""
    data = os.urandom(3_000_000)
    create_state(tmp_path / "s", facts(), io.BytesIO(data))
    with open_state(tmp_path / "s") as state, (tmp_path / "copy").open("wb") as copy:
        assert state.copy_input(copy)
    assert (tmp_path / "copy").read_bytes() == data


def test_earlier_states_are_set_aside_under_free_names(path: Path) -> None:
    """Nothing is overwritten, however many there are on one day."""
    kept = []
    for _ in range(3):
        with open_state(path):
            kept.append(set_aside(path))
        create_state(path, facts())
    assert len(set(kept)) == 3
    assert all(is_state(it) for it in [*kept, path])
    assert kept[0].name.startswith("calls.csv.push.20")


def test_a_file_system_without_hard_links_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is copied then."""

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    kept = set_aside(path)
    assert is_state(kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    create_state(path, facts())
    with pytest.raises(ConfigurationError):
        create_state(path, facts())


def test_what_differs_is_named() -> None:
    """Both what the account decides and what the rules decide."""
    other = PushFacts(fingerprint="f", records=1, rules={"country": "US", "label": "x"}, account="b", base_url="u")
    assert facts_differ(facts(), other) == ["account", "base_url", "country", "label"]
    assert not facts_differ(facts(), facts(7))
