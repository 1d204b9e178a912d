"""The import, beside that of aiohttp, each in a new interpreter."""

from __future__ import annotations

import subprocess
import sys

from rounds import Row, compare

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


async def _time(module: str) -> float:
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1000  # noqa: ASYNC221, S603


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """The row."""
    return [
        await compare(
            "import truecaller_vbc beside import aiohttp",
            "ms",
            lambda: _time("truecaller_vbc"),
            lambda: _time("aiohttp"),
            target=1.2,
            rounds=rounds,
        )
    ]
