"""The gauntlet in real time: what virtual time cannot show, since it needs other processes."""

from __future__ import annotations

import asyncio
import faulthandler
from pathlib import Path

import pytest

from ..redis_server import redis_server
from .plan import Plan
from .real_processes import RealGauntlet

pytestmark = pytest.mark.slow


async def test_real_processes(tmp_path: Path) -> None:
    """Stops, kills, faults, a damaged file and a Redis that dies leave fleets within their quota, and back at work."""
    plan = Plan.from_env()
    faulthandler.cancel_dump_traceback_later()  # the long form takes longer than a test that hangs
    for name in ("file", "redis"):
        (tmp_path / name).mkdir(mode=0o700)
    with redis_server() as server:
        with_file = RealGauntlet(plan.seed, tmp_path / "file" / "token.json", tmp_path / "file")
        with_redis = RealGauntlet(plan.seed + 1, server, tmp_path / "redis")
        reports = await asyncio.gather(with_file.run(plan.seconds), with_redis.run(plan.seconds))

    for name, report in zip(("file", "redis"), reports, strict=True):
        print(f"\n{name}: " + "\n".join(report.lines()))
