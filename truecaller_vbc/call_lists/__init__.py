"""Read lists of calls as spreadsheets and CRMs write them, and turn their rows into call records."""

from .checking import Checked, InvalidRow, check
from .columns import RecordRules, RowParser, label_ids
from .formats import Row, UnreadableInputError
from .source import Format, InputChangedError, Source, SourceOptions, open_source

__all__ = [
    "Checked",
    "Format",
    "InputChangedError",
    "InvalidRow",
    "RecordRules",
    "Row",
    "RowParser",
    "Source",
    "SourceOptions",
    "UnreadableInputError",
    "check",
    "label_ids",
    "open_source",
]
