"""Stores of users that break the protocol: each is logged as a bug, and costs no caller its token."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from truecaller_vbc import MemoryStore, VBCSession
from truecaller_vbc.sandbox import Sandbox


class _OddError(BaseException):
    """An exception that is no Exception, such as those that end tests and green threads."""


def _raise(*_: object) -> Any:
    raise _OddError


async def _raise_later(*_: object) -> Any:
    raise _OddError


def _value(value: object) -> Callable[..., Any]:
    async def give(*_: object) -> Any:
        return value

    return give


class _NoneLease:
    """A lease whose author forgot to yield whether it was granted."""

    async def __aenter__(self) -> Any:
        return None

    async def __aexit__(self, *_: object) -> None:
        pass


BROKEN: dict[str, tuple[str, Callable[..., Any]]] = {
    "read is not async": ("read", lambda *_: None),
    "read has another signature": ("read", lambda: None),
    "read raises": ("read", _raise),
    "read raises later": ("read", _raise_later),
    "read gives a number": ("read", _value(7)),
    "read gives bytes": ("read", _value(b"{}")),
    "write is not async": ("write", lambda *_: None),
    "write raises later": ("write", _raise_later),
    "lease raises": ("lease", _raise),
    "lease is no context manager": ("lease", lambda *_: True),
    "lease gives None": ("lease", lambda *_: _NoneLease()),
    "now raises": ("now", _raise_later),
    "now is not async": ("now", lambda *_: 7.0),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_store_costs_no_token(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The session goes on without the store, and logs the bug at ERROR."""
    method, what = BROKEN[name]
    store = type("Broken", (MemoryStore,), {method: lambda _, *args: what(*args)})()
    async with Sandbox() as sandbox, VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
        with caplog.at_level(logging.ERROR, "truecaller_vbc"):
            await vbc.token()
        assert sandbox.mints == 1

    is_used = method == "now"  # only its clock is ignored
    assert is_used or any(record.levelno == logging.ERROR for record in caplog.records)
