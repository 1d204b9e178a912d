"""Search logs, errors and reprs for secrets."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Final

_LOOKS_SECRET: Final = re.compile(r"[0-9A-Za-z]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SecretScanner(logging.Handler):
    """Log handler that scans all records at DEBUG, and scanner for other texts.

    Attributes:
        known: token values and API keys.
        found: places where one of them was seen.
        errors: records of the library at ERROR, which only its own bugs cause.
        records: number of log records scanned.
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

    def __enter__(self) -> SecretScanner:
        for name in ("", "truecaller_vbc", "aiohttp", "asyncio"):
            logger = logging.getLogger(name)
            self._levels[name] = logger.level
            logger.setLevel(logging.DEBUG)
        # Other handlers would keep all records in memory.
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
        self.scan(text, f"the log of {record.name}")
        if record.name.startswith("truecaller_vbc") and record.levelno >= logging.ERROR:
            self.errors.append(text)

    def scan(self, text: str, where: str) -> None:
        """Search `text`."""
        if not self.known.isdisjoint(_LOOKS_SECRET.findall(text)):
            self.found.append(where)

    def scan_error(self, error: BaseException) -> None:
        """Search the traceback and the repr of an error, with its causes."""
        what = type(error).__name__
        self.scan(repr(error), f"the repr of {what}")
        # Not the repr of causes: aiohttp's ClientResponseError quotes request headers in its repr.
        self.scan("".join(traceback.format_exception(error)), f"the traceback of {what}")
