"""Each invariant can fail: a library that is broken in one place is found out, under the right name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .driver import play_worlds
from .invariants import Violation
from .mutations import BREAKS, FIRST_SEEDS, Break, keeps_what_it_saw, leaves_descriptors, undo

pytestmark = pytest.mark.slow

LEAKS = (leaves_descriptors, keeps_what_it_saw)  # seen only from one world to the next


@pytest.fixture
def given_back() -> Iterator[None]:
    yield
    undo()


@pytest.mark.usefixtures("given_back")
@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_broken_library_is_found_out(broken: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge says which invariant does not hold, and the note how to see it again."""
    worlds = [(FIRST_SEEDS.get(broken, 1) + number, 60) for number in range(40)]
    if broken in LEAKS:
        worlds = [(seed, 8) for seed, _ in worlds[:8]]
    broken(monkeypatch)

    with pytest.raises(Violation) as caught:
        play_worlds(worlds, tmp_path).judge_growth()

    assert caught.value.invariant == BREAKS[broken]
