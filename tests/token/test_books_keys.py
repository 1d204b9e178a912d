"""What the shared document keeps of the keys of an account."""

from __future__ import annotations

import attrs

from truecaller_vbc import Credentials, TokenPolicy
from truecaller_vbc.token.books import Books
from truecaller_vbc.token.document import dump, load
from truecaller_vbc.token.endpoint import Grant

_DAY = 86_400.0


@attrs.define
class _Calendar:
    at: float = 1e6

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1.7e9 + self.at


def _minted_by(key_id: str, text: str | None, clock: _Calendar) -> str:
    credentials = Credentials("account", key_id, "secret")
    books = Books(TokenPolicy(), clock, shared=True)
    books.absorb(load(text), credentials)
    books.grant(Grant("t" * 1200, None, 0.0), credentials, clock.now())
    return dump(books.compose(credentials))


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
