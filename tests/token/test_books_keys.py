"""What the shared document keeps of the keys of an account."""

from __future__ import annotations

import attrs

from truecaller_vbc import Credentials, TokenPolicy
from truecaller_vbc.token.document import dump, load
from truecaller_vbc.token.endpoint import Answer, MintResult
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.ledger import Attempt, Outcome
from truecaller_vbc.token.state import AccountState

_DAY = 86_400.0


@attrs.define
class _Calendar:
    at: float = 1e6

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1.7e9 + self.at


def _minted_by(key_id: str, text: str | None, clock: _Calendar) -> str:
    policy, now = TokenPolicy(), clock.now()
    state = AccountState(policy)
    state.credentials = Credentials("account", key_id, "secret")
    exchange = Exchange(state, policy)
    exchange.merge_document(load(text), now, clock.wall() - now)
    answer = Answer(Outcome.MINTED, MintResult("t" * 1200, None, 0.0))
    state.answered(Attempt(key_id, now), answer, now, now, clock.wall() - now)
    return dump(exchange.to_document(now, clock.wall() - now))


def test_keys_that_were_rotated_out_fill_no_document() -> None:
    """A vault makes a new key every day: a year later the document is as small as on the first day."""
    clock, text = _Calendar(), None
    sizes: list[int] = []
    for day in range(365):
        text = _minted_by(f"key-{day}", text, clock)
        sizes.append(len(text))
        clock.at += _DAY
    assert max(sizes) < 2 * sizes[0]
    assert text is not None
    assert load(text).revision == len(sizes)


def test_another_keys_token_is_kept_as_long_as_it_lives() -> None:
    """What is put away is what has ended."""
    clock = _Calendar()
    text = _minted_by("one", None, clock)
    clock.at += 3590
    text = _minted_by("two", text, clock)
    assert len(load(text).keys) == 2
    clock.at += 20
    assert len(load(_minted_by("two", text, clock)).keys) == 1
