"""What importing a peer costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from imports import milliseconds
from rounds import in_turn, spread

from ..adapters import adapter
from ..bench import Answer, Bench


def importing(module: str) -> Callable[[], Awaitable[float]]:
    """Milliseconds in a new interpreter."""
    return lambda: milliseconds(module)


async def ask(bench: Bench) -> Answer:
    timed = {name: importing(adapter(name).imports) for name in bench.names}
    rounds = await in_turn({"aiohttp": importing("aiohttp"), **timed}, bench.pick(7, 3))
    rows = {
        name: [f"`{adapter(name).imports}`", *spread(rounds[name], rounds["aiohttp"], unit="ms")]
        for name in bench.names
    }
    return Answer(
        12,
        "What does the import cost?",
        "Each in a new interpreter; rounds in turn. The ratio is that to `import aiohttp`, median and range.",
        ["import", "time", "ratio (range)"],
        rows,
    )
