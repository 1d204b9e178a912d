"""Issue tokens, without a network."""

from __future__ import annotations

import re

import pytest

from truecaller_vbc.sandbox import SandboxRules
from truecaller_vbc.sandbox.tokens import QuotaSpentError, TokenIssuer, fingerprint


def test_token_is_64_alphanumerics() -> None:
    """A token has 64 letters and digits, and no two are equal."""
    issuer = TokenIssuer(SandboxRules())
    values = {issuer.issue(0.0).value for _ in range(10)}

    assert len(values) == 10
    assert all(re.fullmatch(r"[A-Za-z0-9]{64}", value) for value in values)


def test_token_ends_with_its_lifetime() -> None:
    """A token is valid before the end of its lifetime, and invalid at that moment."""
    issuer = TokenIssuer(SandboxRules(token_lifetime=60.0))
    token = issuer.issue(5.0).value

    assert [issuer.is_live(token, now) for now in (5.0, 64.9, 65.0)] == [True, True, False]


def test_spent_quota_says_when_it_is_free() -> None:
    """A mint beyond the limit fails, and reports the seconds until one is possible."""
    issuer = TokenIssuer(SandboxRules(max_mints=2, mint_window=30.0))
    issuer.issue(0.0)
    issuer.issue(10.0)

    with pytest.raises(QuotaSpentError) as caught:
        issuer.issue(12.0)

    assert (caught.value.free_in, issuer.mints) == (18.0, 2)


def test_ended_tokens_are_forgotten() -> None:
    """Expired tokens are dropped."""
    issuer = TokenIssuer(SandboxRules(token_lifetime=1.0, max_mints=1000))
    for now in range(100):
        issuer.issue(float(now))

    assert len(issuer._live) == 1


def test_reprs_are_masked() -> None:
    """The reprs of a token and of its issuer hide the value."""
    issuer = TokenIssuer(SandboxRules())
    token = issuer.issue(0.0)

    assert token.value not in repr(token) + repr(issuer)


def test_fingerprint_is_8_hex_of_sha256() -> None:
    """A fingerprint is the first 8 hex digits of SHA-256, also for bytes that are not UTF-8."""
    assert fingerprint("abc") == "ba7816bf"
    assert re.fullmatch(r"[0-9a-f]{8}", fingerprint("\udcff"))
