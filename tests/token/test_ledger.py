"""The ledger is pure: what counts, and when the next may happen."""

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
    """What the server refused, or never saw, spends nothing."""
    ledger = _ledger(*[(float(n), outcome) for n, outcome in enumerate(Outcome)])

    assert ledger.spent(10) == 2


def test_answer_overwrites_the_attempt() -> None:
    """An attempt is entered as unknown before it is made; its answer takes its place."""
    ledger = _ledger((1, Outcome.UNKNOWN)).put(Attempt("0", 2, Outcome.REFUSED))

    assert (Attempt("0", 2, Outcome.REFUSED),) == ledger.attempts
    assert ledger.spent(2) == 0


@given(attempts, st.floats(0, 7000), st.integers(0, 9))
def test_free_at_is_the_first_free_moment(entries: tuple[Attempt, ...], now: float, reserve: int) -> None:
    """`free_at` agrees with counting: too many just before it, few enough at it."""
    ledger = Ledger(WINDOW, LIMIT, entries)
    free_at = ledger.free_at(now, reserve=reserve)

    assert ledger.spent(free_at) < LIMIT - reserve
    if free_at > now:
        before = max(now, free_at - 1e-6)
        assert before == free_at or LIMIT - reserve <= ledger.spent(before)


@given(attempts, st.floats(0, 7000))
def test_pruning_changes_no_answer(entries: tuple[Attempt, ...], now: float) -> None:
    """What has left the window is of no use to anybody."""
    ledger = Ledger(WINDOW, LIMIT, entries)

    assert ledger.spent(now) == ledger.pruned(now).spent(now)
    assert ledger.free_at(now) == ledger.pruned(now).free_at(now)
    assert all(a.at + WINDOW > now for a in ledger.pruned(now).attempts)


@given(attempts, attempts, st.floats(0, 7000))
def test_merging_knows_what_either_knew(one: tuple[Attempt, ...], two: tuple[Attempt, ...], now: float) -> None:
    """No attempt is lost in a merge, and merging the same again changes nothing."""
    ledger = Ledger(WINDOW, LIMIT, one).merged(Ledger(WINDOW, LIMIT, two))

    assert {a.id for a in (*one, *two)} == {a.id for a in ledger.attempts}
    assert ledger == ledger.merged(Ledger(WINDOW, LIMIT, two))


def test_merging_keeps_our_own_time_and_learns_the_answer() -> None:
    """Another's clock does not move an attempt that we know; another's answer to it is news."""
    ours = _ledger((5, Outcome.UNKNOWN))
    theirs = Ledger(WINDOW, LIMIT, (Attempt("0", 900, Outcome.REFUSED),))

    assert (Attempt("0", 5, Outcome.REFUSED),) == ours.merged(theirs).attempts
    assert (Attempt("0", 900, Outcome.REFUSED),) == theirs.merged(ours).attempts


def test_merging_keeps_the_answer_that_we_have() -> None:
    """Our own answer to an attempt is not overwritten by what somebody else takes it for."""
    ours = _ledger((5, Outcome.REFUSED))

    for outcome in Outcome:
        assert ours.merged(Ledger(WINDOW, LIMIT, (Attempt("0", 5, outcome),))).attempts == ours.attempts


def test_merging_keeps_the_later_end_of_a_full_window() -> None:
    """Whichever of the two knows of it."""
    early, late = _ledger().full(0, 10), _ledger().full(0, 20)

    assert early.merged(late).full_until == late.merged(early).full_until == 20


def test_attempts_are_in_the_order_of_their_times() -> None:
    """However they were entered: an attempt's time changes with its answer, and others have clocks of their own."""
    ledger = _ledger((30, Outcome.UNKNOWN), (20, Outcome.MINTED), (25, Outcome.MINTED)).put(Attempt("0", 10))
    merged = ledger.merged(Ledger(WINDOW, LIMIT, (Attempt("theirs", 15),)))

    assert [a.at for a in ledger.attempts] == [10, 20, 25]
    assert [a.at for a in merged.attempts] == [10, 15, 20, 25]


def test_attempt_leaves_one_window_after_its_time() -> None:
    """At that very moment, and not before."""
    ledger = _ledger((10, Outcome.MINTED))

    assert len(ledger.pruned(10 + WINDOW - 0.001).attempts) == 1
    assert ledger.pruned(10 + WINDOW).attempts == ()


def _runs(*runs: tuple[Outcome, int]) -> Ledger:
    """So many of each outcome, one a second."""
    outcomes = [outcome for outcome, number in runs for _ in range(number)]
    return _ledger(*((float(at), outcome) for at, outcome in enumerate(outcomes)))


@pytest.mark.parametrize("spending", [Outcome.MINTED, Outcome.UNKNOWN])
@pytest.mark.parametrize("outage", [Outcome.REFUSED, Outcome.UNSENT])
def test_outage_hides_nothing_that_was_spent(spending: Outcome, outage: Outcome) -> None:
    """Of the attempts before it, those that count are kept: the newest, as many as the limit, and no others."""
    ledger = _runs((outage, 20), (spending, 15), (outage, 300))

    assert ledger.spent(400) == LIMIT
    assert ledger.free_at(400) == 34 - (LIMIT - 1) + WINDOW
    assert [a.at for a in ledger.attempts[:-100]] == [float(at) for at in range(25, 35)]


def test_outage_hides_nothing_that_the_server_has_seen() -> None:
    """Where it then says that the window is full, what it refused decides as well; what it never saw is let go."""
    ledger = _runs((Outcome.UNSENT, 20), (Outcome.REFUSED, 15), (Outcome.UNSENT, 300))

    assert ledger.full(400, None).full_until == 34 - (LIMIT - 1) + WINDOW
    assert [a.at for a in ledger.attempts[:-100]] == [float(at) for at in range(25, 35)]


many_attempts = st.lists(st.tuples(st.floats(0, 5000), outcomes), min_size=101, max_size=300)


@given(many_attempts, st.floats(0, 7000), st.integers(0, 9), st.integers(1, 40))
def test_what_is_left_out_of_many_decides_nothing(
    pairs: list[tuple[float, Outcome]], now: float, reserve: int, limit: int
) -> None:
    """A ledger stays small, however long an outage and however large the fleet, and says the same."""
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
    """`Retry-After` closes the window for that long, but for no longer than a window."""
    assert _ledger().full(100, 30).full_until == 100 + 30
    assert _ledger().full(100, 1e9).full_until == 100 + WINDOW
    assert _ledger().full(100, 30).spent(129) == LIMIT


def test_full_without_a_time_waits_for_the_oldest_of_all_attempts() -> None:
    """Refused ones too, since the server counts more than we do; what it never saw does not matter."""
    ledger = _ledger((10, Outcome.UNSENT), (20, Outcome.REFUSED), (30, Outcome.MINTED))

    assert ledger.full(40, None).full_until == 20 + WINDOW


def test_full_with_many_attempts_waits_until_fewer_than_the_limit() -> None:
    """With more attempts than the limit, all counted, it is not the oldest that makes room."""
    ledger = _ledger(*[(float(n), Outcome.REFUSED) for n in range(15)])

    assert ledger.full(20, None).full_until == 5 + WINDOW
