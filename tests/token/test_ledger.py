"""Test which attempts count, and when the next may be made."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.token.ledger import Attempt, Ledger, Outcome

WINDOW, LIMIT = 1800.0, 10
outcomes = st.sampled_from(list(Outcome))
attempts = st.lists(st.tuples(st.floats(0, 5000), outcomes), max_size=40).map(
    lambda pairs: tuple(Attempt(str(n), at, outcome) for n, (at, outcome) in enumerate(sorted(pairs)))
)


def _ledger(*pairs: tuple[float, Outcome]) -> Ledger:
    ledger = Ledger(WINDOW, LIMIT)
    for number, (at, outcome) in enumerate(pairs):
        ledger = ledger.put(Attempt(str(number), at, outcome))
    return ledger


def test_only_minted_and_unknown_count() -> None:
    """Refused and unsent attempts do not count."""
    ledger = _ledger(*[(float(n), outcome) for n, outcome in enumerate(Outcome)])

    assert ledger.spent(10) == 2


def test_answer_overwrites_the_attempt() -> None:
    """The outcome replaces the entry that was made before the attempt."""
    ledger = _ledger((1, Outcome.UNKNOWN)).put(Attempt("0", 2, Outcome.REFUSED))

    assert (Attempt("0", 2, Outcome.REFUSED),) == ledger.attempts
    assert ledger.spent(2) == 0


@pytest.mark.slow
@given(attempts, st.floats(0, 7000), st.integers(0, 9))
def test_free_at_is_the_first_free_moment(entries: tuple[Attempt, ...], now: float, reserve: int) -> None:
    """`free_at` agrees with counting, so that the window is full just before it and has room at it."""
    ledger = Ledger(WINDOW, LIMIT, entries)
    free_at = ledger.free_at(now, reserve=reserve)

    assert ledger.spent(free_at) < LIMIT - reserve
    if free_at > now:
        before = max(now, free_at - 1e-6)
        assert before == free_at or LIMIT - reserve <= ledger.spent(before)


@given(attempts, st.floats(0, 7000))
def test_pruning_changes_no_answer(entries: tuple[Attempt, ...], now: float) -> None:
    """Attempts that left the window change no answer."""
    ledger = Ledger(WINDOW, LIMIT, entries)

    assert ledger.spent(now) == ledger.pruned(now).spent(now)
    assert ledger.free_at(now) == ledger.pruned(now).free_at(now)
    assert all(a.at + WINDOW > now for a in ledger.pruned(now).attempts)


@given(attempts, attempts, st.floats(0, 7000))
def test_merging_knows_what_either_knew(one: tuple[Attempt, ...], two: tuple[Attempt, ...], now: float) -> None:
    """A merge loses no attempt, and repeating it changes nothing."""
    ledger = Ledger(WINDOW, LIMIT, one).merged(Ledger(WINDOW, LIMIT, two))

    assert {a.id for a in (*one, *two)} == {a.id for a in ledger.attempts}
    assert ledger == ledger.merged(Ledger(WINDOW, LIMIT, two))


def test_merging_keeps_our_own_time_and_learns_the_answer() -> None:
    """A merge keeps our time of a known attempt and adds the outcome that the other ledger knows."""
    ours = _ledger((5, Outcome.UNKNOWN))
    theirs = Ledger(WINDOW, LIMIT, (Attempt("0", 900, Outcome.REFUSED),))

    assert (Attempt("0", 5, Outcome.REFUSED),) == ours.merged(theirs).attempts
    assert (Attempt("0", 900, Outcome.REFUSED),) == theirs.merged(ours).attempts


def test_merging_keeps_the_answer_that_we_have() -> None:
    """A merge does not overwrite an outcome that we know."""
    ours = _ledger((5, Outcome.REFUSED))

    for outcome in Outcome:
        assert ours.merged(Ledger(WINDOW, LIMIT, (Attempt("0", 5, outcome),))).attempts == ours.attempts


def test_merging_keeps_the_later_end_of_a_full_window() -> None:
    """A merge keeps the later `full_until`."""
    early, late = _ledger().full(0, 10), _ledger().full(0, 20)

    assert early.merged(late).full_until == late.merged(early).full_until == 20


def test_attempts_are_in_the_order_of_their_times() -> None:
    """Attempts are sorted by time, in whichever order they were entered."""
    ledger = _ledger((30, Outcome.UNKNOWN), (20, Outcome.MINTED), (25, Outcome.MINTED)).put(Attempt("0", 10))
    merged = ledger.merged(Ledger(WINDOW, LIMIT, (Attempt("theirs", 15),)))

    assert [a.at for a in ledger.attempts] == [10, 20, 25]
    assert [a.at for a in merged.attempts] == [10, 15, 20, 25]


def test_attempt_leaves_one_window_after_its_time() -> None:
    """An attempt leaves the window exactly one window after its time."""
    ledger = _ledger((10, Outcome.MINTED))

    assert len(ledger.pruned(10 + WINDOW - 0.001).attempts) == 1
    assert ledger.pruned(10 + WINDOW).attempts == ()


def _runs(*runs: tuple[Outcome, int]) -> Ledger:
    """Return a ledger with so many attempts of each outcome, one per second."""
    outcomes = [outcome for outcome, number in runs for _ in range(number)]
    return _ledger(*((float(at), outcome) for at, outcome in enumerate(outcomes)))


@pytest.mark.parametrize("spending", [Outcome.MINTED, Outcome.UNKNOWN])
@pytest.mark.parametrize("outage", [Outcome.REFUSED, Outcome.UNSENT])
def test_outage_hides_nothing_that_was_spent(spending: Outcome, outage: Outcome) -> None:
    """Of the attempts before an outage the newest that count are kept, as many as the limit."""
    ledger = _runs((outage, 20), (spending, 15), (outage, 300))

    assert ledger.spent(400) == LIMIT
    assert ledger.free_at(400) == 34 - (LIMIT - 1) + WINDOW
    assert [a.at for a in ledger.attempts[:-100]] == [float(at) for at in range(25, 35)]


def test_outage_hides_nothing_that_the_server_has_seen() -> None:
    """Refused attempts are kept, too, since a later 429 needs them; unsent ones are not."""
    ledger = _runs((Outcome.UNSENT, 20), (Outcome.REFUSED, 15), (Outcome.UNSENT, 300))

    assert ledger.full(400, None).full_until == 34 - (LIMIT - 1) + WINDOW
    assert [a.at for a in ledger.attempts[:-100]] == [float(at) for at in range(25, 35)]


many_attempts = st.lists(st.tuples(st.floats(0, 5000), outcomes), min_size=101, max_size=300)


@pytest.mark.slow
@given(many_attempts, st.floats(0, 7000), st.integers(0, 9), st.integers(1, 40))
def test_what_is_left_out_of_many_decides_nothing(
    pairs: list[tuple[float, Outcome]], now: float, reserve: int, limit: int
) -> None:
    """A ledger stays small during long outages of large fleets, and its answers do not change."""
    entries = tuple(Attempt(str(n), at, outcome) for n, (at, outcome) in enumerate(sorted(pairs)))
    whole = Ledger(WINDOW, limit, entries)
    small = Ledger(WINDOW, limit)
    for entry in entries:
        small = small.put(entry)

    assert len(small.attempts) <= 100 + 2 * limit
    assert small.attempts[-100:] == entries[-100:]
    assert min(small.spent(now), limit) == min(whole.spent(now), limit)
    if reserve < limit:
        assert small.free_at(now, reserve=reserve) == whole.free_at(now, reserve=reserve)
    assert small.full(now, None) == attrs.evolve(small, full_until=whole.full(now, None).full_until)
    assert Ledger(WINDOW, limit).merged(whole).attempts == small.attempts


def test_full_until_what_the_server_says() -> None:
    """`Retry-After` closes the window for that time, but for one window at most."""
    assert _ledger().full(100, 30).full_until == 100 + 30
    assert _ledger().full(100, 1e9).full_until == 100 + WINDOW
    assert _ledger().full(100, 30).spent(129) == LIMIT


def test_full_without_a_time_waits_for_the_oldest_of_all_attempts() -> None:
    """Without `Retry-After` the oldest attempt decides, refused ones included, unsent ones not."""
    ledger = _ledger((10, Outcome.UNSENT), (20, Outcome.REFUSED), (30, Outcome.MINTED))

    assert ledger.full(40, None).full_until == 20 + WINDOW


def test_full_with_many_attempts_waits_until_fewer_than_the_limit() -> None:
    """With more attempts than the limit, the window has room when fewer than the limit are left in it."""
    ledger = _ledger(*[(float(n), Outcome.REFUSED) for n in range(15)])

    assert ledger.full(20, None).full_until == 5 + WINDOW
