"""Receivers that are killed in the middle of their work, at the size of a test. The benchmarks have the full one."""

from __future__ import annotations

import socket

import pytest

from benchmarks.webhooks import crashes

pytestmark = pytest.mark.slow


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.mark.parametrize(
    ("kind", "mode", "effects"),
    [
        ("file", "run", "atomic"),
        ("file", "run", "plain"),
        ("file", "store_then_run", "atomic"),
        ("redis", "run", "atomic"),
        ("redis", "store_then_run", "plain"),
    ],
)
async def test_kill_nine(kind: str, mode: str, effects: str, redis: str) -> None:
    """No event is lost; where the handler commits its effect with its claim, each has it exactly once."""
    outcome = await crashes(kind, mode, effects, 60, redis=redis, free_ports=_free_ports())

    assert (outcome.lost, outcome.kills) == (0, 3)
    if effects == "atomic":
        assert (outcome.once, outcome.repeated) == (60, 0)
