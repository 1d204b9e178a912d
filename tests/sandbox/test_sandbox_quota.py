"""Compare the mint windows with a brute force that keeps every mint."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.sandbox.tokens import FixedWindow, MintWindow, SlidingWindow

LENGTH = 30.0
# Eighths are exact in binary, so rounding makes no difference.
steps = st.lists(st.integers(0, 20 * 8).map(lambda n: n / 8), max_size=60).map(lambda gaps: list(accumulate(gaps)))
limits = st.integers(1, 5)


def granted(window: MintWindow, times: list[float]) -> list[float]:
    """Return the times at which a mint is granted when one is requested at each of `times`."""
    kept = []
    for now in times:
        if window.has_room(now):
            window.note(now)
            kept.append(now)
    return kept


@given(times=steps, limit=limits)
def test_sliding_grants_what_brute_force_grants(times: list[float], limit: int) -> None:
    """A mint is granted exactly if fewer than the limit were granted in the window before it."""
    expected: list[float] = []
    for now in times:
        if sum(now - LENGTH < then for then in expected) < limit:
            expected.append(now)

    assert granted(SlidingWindow(limit, LENGTH), times) == expected


@given(times=steps, limit=limits)
def test_sliding_never_exceeds_the_limit(times: list[float], limit: int) -> None:
    """No window of full length, wherever it begins, has more mints than the limit."""
    kept = granted(SlidingWindow(limit, LENGTH), times)

    assert all(sum(start <= then < start + LENGTH for then in kept) <= limit for start in kept)


@given(times=steps, limit=limits)
def test_fixed_grants_what_brute_force_grants(times: list[float], limit: int) -> None:
    """A mint is granted exactly if fewer than the limit were granted in the same aligned window."""
    expected: list[float] = []
    for now in times:
        if sum(then // LENGTH == now // LENGTH for then in expected) < limit:
            expected.append(now)

    assert granted(FixedWindow(limit, LENGTH), times) == expected


@given(times=steps, limit=limits, kind=st.sampled_from([SlidingWindow, FixedWindow]), every=st.booleans())
def test_free_in_is_the_first_moment_with_room(
    times: list[float], limit: int, kind: type[SlidingWindow | FixedWindow], *, every: bool
) -> None:
    """A mint is possible after `free_in` seconds and not before, also when refusals count."""
    window = kind(limit, LENGTH)
    for now in times:
        if every or window.has_room(now):
            window.note(now)
        wait = window.free_in(now)

        assert window.has_room(now + wait)
        assert wait == 0 or not window.has_room(now + wait - 1 / 16)


def test_fixed_lets_twice_the_limit_through_at_a_border() -> None:
    """Two aligned windows allow twice the limit around their border, and a sliding one does not."""
    times = [29.0, 29.0, 30.0, 30.0]

    assert granted(FixedWindow(2, LENGTH), times) == times
    assert granted(SlidingWindow(2, LENGTH), times) == times[:2]
