"""Models of the API as JSON, for machines."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, cast

import attrs
import typer


def print_json(document: Any) -> None:
    """One document on standard output."""
    typer.echo(json.dumps(document, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(cast(frozenset[str], value))
    return attrs.asdict(value, recurse=False)
