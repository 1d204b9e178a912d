"""Put values that cannot be true into a stored document."""

from __future__ import annotations

import copy
import random
from collections.abc import Generator
from typing import Any, Final

_STAMPS: Final = (-1e7, -86_400.0, -3_600.0, -60.0, 90.0, 1_700.0, 5_000.0, 86_400.0, 1e7, 3e9)
_COUNTS: Final = (2**50, 2**51 - 2, 2**51 - 1, 2**51, 2**52 - 1, 2**63, -1, 0)
_NUMBERS: Final = (2.0**35, -(2.0**35), 1e308, float("nan"), float("inf"), 1e6, -5.0, 1.5)
_TYPES: Final[tuple[Any, ...]] = ("x", "", "a\nb", "x" * 10_000, None, [], {}, True, [None], {"at": 1})
_COUNTERS: Final = ("revision", "generation", "count")
_KINDS: Final = ("CredentialsRejectedError", "TokenEndpointError", "MintQuotaExhaustedError", "KeyboardInterrupt")


def poisoned(document: dict[str, Any], rng: random.Random, at: float) -> tuple[str, list[float]]:
    """Replace some values of a document. Return what was replaced, and the times in the future that were put in.

    Args:
        document: as JSON; changed in place.
        rng: chooses.
        at: the time of the document.
    """
    _complete(document, rng, at)
    said: list[str] = []
    stamps: list[float] = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(document))
        counters = [place for place in places if place[1] in _COUNTERS]
        holder, name = rng.choice(counters if counters and rng.random() < 0.3 else places)
        value = _impossible(name, rng, at)
        holder[name] = value
        said.append(f"{name}={str(value)[:30]!r}")
    for holder, name in _places(document):
        if isinstance(holder[name], float) and 0 < holder[name] - at < 1e8:
            stamps.append(holder[name])
    return " ".join(said), stamps


def _complete(document: dict[str, Any], rng: random.Random, at: float) -> None:
    """Add what a document may have and this one does not, each with a time that may be false."""
    document.setdefault("revision", 1)
    stamp = at + rng.choice(_STAMPS)
    if rng.random() < 0.15:
        document["full_until"] = stamp
    if rng.random() < 0.15:
        document["attempts"] = [{"id": f"{i}", "at": stamp, "outcome": "minted", "by": ""} for i in range(10)]
    keys = document.get("keys")
    for state in list(keys.values()) if isinstance(keys, dict) else ():
        if isinstance(state, dict) and rng.random() < 0.15:
            kind, count = rng.choice(_KINDS), rng.choice((1, 64, 2**51 - 1))
            state["failure"] = {"kind": kind, "message": "poison", "retry_at": stamp, "count": count}


def _impossible(name: Any, rng: random.Random, at: float) -> Any:
    if name in _COUNTERS and rng.random() < 0.7:
        return rng.choice(_COUNTS)
    draw = rng.random()
    if draw < 0.6:
        return at + rng.choice(_STAMPS)
    return copy.deepcopy(rng.choice(_NUMBERS if draw < 0.8 else _TYPES))


def _places(value: Any) -> Generator[tuple[Any, Any]]:
    """Yield each container with each of its names, from the top down."""
    if isinstance(value, dict | list):
        names: Any = value if isinstance(value, dict) else range(len(value))
        for name in list(names):
            yield value, name
            yield from _places(value[name])
