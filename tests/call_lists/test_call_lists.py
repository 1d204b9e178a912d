"""Read a whole list by the public names, with problems in the words of the library."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from truecaller_vbc import CallRecord, ConfigurationError, Label
from truecaller_vbc.call_lists import RecordRules, RowParser, SourceOptions, check, label_ids, open_source
from truecaller_vbc.cli.calls.list_options import in_options

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
HEADER = "Mobile;Shop;Customer\n"
RULES = RecordRules(
    columns={"receiver_number": "Mobile", "label_id": "Shop"},
    ignore_extra=True,
    country="IN",
    caller="+911140000000",
    date="tomorrow",
    window="10:00-18:00",
    timezone="Asia/Kolkata",
    now=NOW,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "crm.csv"
    path.write_text(f"{HEADER}98000 00019;flower SHOP;Asha\n98;Flower shop;Bela\n9800000027;Bakery;Carla\n")
    return path


def test_records_of_a_list(path: Path) -> None:
    """A list of a CRM becomes records, with labels by their names."""
    parser = RowParser(RULES, label_ids([Label(id="id-1", name="Flower shop")]))
    with open_source(path) as source:
        found = [parser.record(row) for row in source.rows()]

    assert isinstance(found[0], CallRecord)
    assert (found[0].receiver_number, found[0].label_id) == ("+919800000019", "id-1")
    assert "'98' is impossible as a number of IN" in str(found[1])
    assert found[2] == "label_id: 'Bakery' is no label of this account: see labels.list()"


def test_check_of_a_list(path: Path) -> None:
    """A check reads the list once, and counts what is wrong."""
    with open_source(path) as source:
        checked = check(source, RowParser(RULES), duplicates=True)

    assert (checked.records, checked.invalid, checked.unreadable) == (3, 1, False)
    assert [(it.line, it.fault.partition(":")[0]) for it in checked.problems] == [(3, "receiver_number")]
    assert checked.labels_used["Bakery"] == (1, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("or give country=IN (or yours)", "or give --country IN (or yours)"),
        ("or give date_format='%d-%m-%Y' and timezone=", "or give --date-format '%d-%m-%Y' and --timezone"),
        ("leave it out with ignore_extra=True, or", "leave it out with --ignore-extra, or"),
        ("write {FIELD: COLUMN}", "write FIELD=COLUMN"),
        ("or columns={receiver_number: Mobile}", "or --column receiver_number=Mobile"),
        ("or columns={starts_at: Begin} ignore_extra=True", "or --column starts_at=Begin --ignore-extra"),
        ("no label: see labels.list(); reason=: x", "no label: see `truecaller-vbc labels list`; --reason: x"),
        ("'a=b' is no phone number", "'a=b' is no phone number"),
    ],
)
def test_the_command_line_names_its_options(text: str, words: str) -> None:
    """Arguments of the library become options, and other text stays."""
    assert in_options(text) == words
    assert in_options(words) == words


def test_messages_name_arguments() -> None:
    """The library names its own arguments, not the options of the command line."""
    with pytest.raises(ConfigurationError, match=r"^label= and no_label=True contradict each other"):
        RecordRules(label="x", no_label=True)
    with pytest.raises(ConfigurationError, match=r"^delimiter= must be one character"):
        SourceOptions(delimiter="ab")
    assert SourceOptions(delimiter="Tab").delimiter == "\t"


def test_the_library_never_names_options() -> None:
    """No text of the library's reader names an option of the command line."""
    import truecaller_vbc.call_lists  # noqa: PLC0415

    folder = Path(truecaller_vbc.call_lists.__file__).parent
    for file in folder.glob("*.py"):
        assert "--" not in file.read_text().replace("---", ""), file
