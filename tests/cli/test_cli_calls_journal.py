"""Write, read and damage the journal of `calls push`."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from truecaller_vbc.cli.calls.journal import ChunkTable, Entry, Header, Totals, open_journal
from truecaller_vbc.cli.calls.reading import Fingerprint
from truecaller_vbc.errors import ConfigurationError

HEADER = Header(fingerprint=Fingerprint(1, "x"), options={"a": None}, records=1200)


def _begun(path: Path) -> bytes:
    with open_journal(path) as journal:
        journal.begin(HEADER)
        journal.sending(0, {})
        journal.outcome(0, "acknowledged", {}, batch_id="b")
        journal.sending(1, {2: "late"})
        journal.outcome(2, "unsent", {}, error="no token")
    return path.read_bytes()


def test_journal_is_read_back(tmp_path: Path) -> None:
    """A journal is read back as it was written, and is private from the start."""
    path = tmp_path / "a.journal"
    _begun(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_journal(path) as journal:
        assert journal.header == HEADER
        assert [journal.chunks.state(chunk) for chunk in range(3)] == ["acknowledged", "sending", "unsent"]
        assert [journal.chunks.is_pending(chunk) for chunk in range(3)] == [False, False, True]
        assert journal.chunks.totals() == Totals(acknowledged=500, unknown=499, invalid=1, unsent=200)
        assert journal.entry(0) == Entry(batch_id="b")
        assert journal.entry(1) == Entry(invalid={2: "late"})
        assert journal.entry(2) == Entry(error="no token")


@pytest.mark.slow
def test_crash_at_any_byte(tmp_path: Path) -> None:
    """A journal cut off at any byte can be read, and never offers an announced chunk for sending."""
    path = tmp_path / "a.journal"
    whole = _begun(path)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]

    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with open_journal(path) as journal:
            if length < ends[0]:
                assert journal.header is None
                continue
            assert journal.chunks.is_pending(0) == (length < ends[1])
            assert journal.chunks.is_pending(1) == (length < ends[3])
            assert (journal.chunks.state(0) == "acknowledged") == (length >= ends[2])
            journal.sending(2, {})
        with open_journal(path) as journal:
            assert journal.chunks.state(2) == "sending"


def test_unused_journal(tmp_path: Path) -> None:
    """A journal that was opened but not begun leaves no file."""
    path = tmp_path / "a.journal"
    with open_journal(path) as journal:
        assert journal.header is None

    assert not path.exists()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """A second run is refused while the first has the journal, and accepted afterwards."""
    path = tmp_path / "a.journal"
    with open_journal(path), pytest.raises(ConfigurationError, match="another run"), open_journal(path):
        pass
    with open_journal(path):
        pass


@pytest.mark.parametrize(
    "text", ["a,b\n", "{}\n", "[]\n", "no newline", '{"journal": "other", "version": 1}\n', "\0\0\0"]
)
def test_another_kind_of_file(tmp_path: Path, text: str) -> None:
    """A file that is not a journal is refused and not changed."""
    path = tmp_path / "data.csv"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match="no journal"), open_journal(path):
        pass
    assert path.read_text() == text


@pytest.mark.parametrize(
    "line",
    [
        *("", "{}", "[]", "nonsense", '{"chunk": 3, "state": "sending"}', '{"chunk": 0, "state": "odd"}'),
        '{"chunk": -1, "state": "sending"}',
        '{"chunk": "0", "state": "sending"}',
        '{"chunk": 0, "state": "sending", "invalid": {"x": ""}}',
    ],
)
def test_damaged_in_the_middle(tmp_path: Path, line: str) -> None:
    """A damaged line in the middle raises an error that names the line."""
    path = tmp_path / "a.journal"
    whole = _begun(path)
    path.write_bytes(whole + line.encode() + b"\n")

    with pytest.raises(ConfigurationError, match=r"line 6 of the journal .* is damaged"), open_journal(path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """The error about a directory that cannot be written names --journal."""
    with pytest.raises(ConfigurationError, match="--journal"), open_journal(tmp_path / "none" / "a.journal"):
        pass
    with pytest.raises(ConfigurationError, match="--journal"), open_journal(tmp_path):
        pass


def test_memory_of_the_chunk_table() -> None:
    """The table of a hundred million records, which are 200,000 chunks, takes less than 3 MB."""
    table = ChunkTable(100_000_000)

    assert table.chunks == 200_000
    assert sum(part.__sizeof__() for part in (table._states, table._invalid, table._places)) < 3_000_000


def test_journal_starts_where_directories_cannot_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal can be started on a file system that cannot flush directories."""
    fsync = os.fsync

    def fsync_of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_of_files)
    with open_journal(tmp_path / "calls.journal") as journal:
        journal.begin(Header(Fingerprint(1, "0" * 64), {}, 1))

    assert (tmp_path / "calls.journal").stat().st_size > 0
