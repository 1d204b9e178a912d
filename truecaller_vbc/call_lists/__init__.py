"""Read lists of calls as spreadsheets and CRMs write them, and turn their rows into call records."""

from .columns import RecordRules, RowParser, label_ids
from .formats import Row, UnreadableInputError
from .source import Format, InputChangedError, Source, SourceOptions, open_source

__all__ = [
    "Format",
    "InputChangedError",
    "RecordRules",
    "Row",
    "RowParser",
    "Source",
    "SourceOptions",
    "UnreadableInputError",
    "label_ids",
    "open_source",
]
