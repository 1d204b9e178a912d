"""`import truecaller_vbc` beside `import aiohttp`, each in a new interpreter, which times nothing but the import.

Fair, since the first run of each, which does not count, leaves the files in the system's cache and their byte code on
disk; where the latter may not be written, the child writes it all the same, or one side would be compiled each time.
"""

from __future__ import annotations

import asyncio
import os
import sys

from rounds import Row, compare

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


async def milliseconds(module: str) -> float:
    """Of importing `module` in a new interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CODE.format(module), stdout=asyncio.subprocess.PIPE, env=environment
    )
    printed, _ = await child.communicate()
    return float(printed) * 1000


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """The row."""
    return [
        await compare(
            "import truecaller_vbc beside import aiohttp",
            "ms",
            lambda: milliseconds("truecaller_vbc"),
            lambda: milliseconds("aiohttp"),
            target=1.2,
            rounds=rounds,
        )
    ]
