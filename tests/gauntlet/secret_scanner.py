"""Everything that is said, searched for what must not be said."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Final

_LOOKS_SECRET: Final = re.compile(r"[0-9A-Za-z]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SecretsWatch(logging.Handler):
    """A log handler that reads all records at DEBUG, and a reader of errors and reprs.

    Attributes:
        known: token values and API keys.
        found: where one of them was seen.
        errors: what the library logged at ERROR: it does so only for its own bugs.
        records: how many log records it read.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.known: set[str] = set()
        self.found: list[str] = []
        self.errors: list[str] = []
        self.records = 0
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self._levels: dict[str, int] = {}
        self._others: list[logging.Handler] = []

    def __enter__(self) -> SecretsWatch:
        for name in ("", "truecaller_vbc", "aiohttp", "asyncio"):
            logger = logging.getLogger(name)
            self._levels[name] = logger.level
            logger.setLevel(logging.DEBUG)
        # Alone: others would keep all that is logged.
        root = logging.getLogger()
        self._others, root.handlers = root.handlers, [self]
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().handlers = self._others
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        text = self.format(record)
        self.read(text, f"the log of {record.name}")
        if record.name.startswith("truecaller_vbc") and record.levelno >= logging.ERROR:
            self.errors.append(text)

    def read(self, text: str, where: str) -> None:
        """Search `text`."""
        if not self.known.isdisjoint(_LOOKS_SECRET.findall(text)):
            self.found.append(where)

    def read_error(self, error: BaseException) -> None:
        """Search an error as a traceback prints it, with its causes, and its repr."""
        what = type(error).__name__
        self.read(repr(error), f"the repr of {what}")
        # aiohttp's own error of a bad status quotes request headers in its repr; it is the user's to print.
        self.read("".join(traceback.format_exception(error)), f"the traceback of {what}")
