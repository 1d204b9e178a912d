"""Provide the store of a scenario, with one document, one lease and failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from truecaller_vbc import Credentials, StoreError, StoreRefusedError
from truecaller_vbc.stores.protocol import revision_of
from truecaller_vbc.token import document as documents
from truecaller_vbc.token.clock import as_datetime
from truecaller_vbc.token.state import key_hash

from ..token.virtual_time import EPOCH
from .scenario_given import Contents
from .scenario_server import ACCOUNT


@attrs.define
class Box:
    """The document and the lease that all processes of a scenario share."""

    now: Callable[[], float]
    text: str | None = None
    owner: object = None
    leased_until: float = 0.0
    clock_offset: float | None = None

    def fill(self, contents: Contents | None) -> None:
        """Replace the document; its times are seconds from the start."""
        self.text = None if contents is None else _document(contents, revision_of(self.text) + 1)

    def lease_to(self, owner: object, seconds: float) -> bool:
        """Take the lease for `owner`. Return whether it was free."""
        if self.now() < self.leased_until:
            return False
        self.owner, self.leased_until = owner, self.now() + seconds
        return True

    def give_back(self, owner: object) -> None:
        """End a lease if it is still that of this owner."""
        if self.owner is owner:
            self.leased_until = 0.0

    def seen(self) -> dict[str, Any]:
        """Return the values that expectations can name."""
        document = documents.load(self.text)
        states = list(document.keys.values())
        tokens = [state.token for state in states if state.token]
        failures = [state.failure for state in states if state.failure]
        return {
            "tokens": [str(token.value) for token in tokens],
            "older": [str(token.value) for state in states for token in state.older],
            "single_until": next((it.single_until - EPOCH for it in states if it.single_until is not None), None),
            "starts_at": tokens[0].starts_at - EPOCH if tokens else None,
            "attempts": [attempt.outcome for attempt in document.attempts],
            "generation": max((state.generation for state in states), default=0),
            "failure": failures[0].kind if failures else None,
            "retry_at": failures[0].retry_at - EPOCH if failures else None,
            "full_until": None if document.full_until is None else document.full_until - EPOCH,
        }


class BoxStore:
    """The store object of one process."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.trouble = "none"
        self.dead = False
        if box.clock_offset is not None:
            self.now = self._now

    async def _pass(self, *, writing: bool = False) -> None:
        if self.trouble == "hangs":
            await asyncio.sleep(1e9)
        if self.trouble == "refuses":
            raise StoreRefusedError("mend it")
        if self.trouble == "down" or (self.trouble == "read_only" and writing):
            raise StoreError("the store is down")

    async def _now(self) -> float:
        await self._pass()
        return EPOCH + self._box.now() + (self._box.clock_offset or 0.0)

    async def read(self, key: str) -> str | None:
        await self._pass()
        return self._box.text

    async def write(self, key: str, document: str) -> bool:
        await self._pass(writing=True)
        if revision_of(self._box.text) >= revision_of(document):
            return False
        self._box.text = document
        return True

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        await self._pass()
        me = object()
        try:
            yield self._box.lease_to(me, seconds)
        finally:
            if not self.dead:
                await self._pass()
                self._box.give_back(me)


def _document(contents: Contents, revision: int) -> str:
    if contents.raw is not None:
        return contents.raw
    token = failure = None
    if stored := contents.token:
        stamp = as_datetime(EPOCH + stored.starts_at).isoformat()
        token = documents.StoredToken(stored.value, stamp, EPOCH + stored.starts_at)
    if told := contents.failure:
        refused = told.api_key and key_hash(Credentials(ACCOUNT, contents.key_id, told.api_key))
        retry_at = EPOCH + told.retry_at
        failure = documents.StoredFailure(told.error, "told by another process", retry_at, told.count, refused)
    generation = contents.token.generation if contents.token else 0
    attempts = [
        documents.StoredAttempt(f"given-{n}", EPOCH + attempt.at, attempt.outcome, "another")
        for n, attempt in enumerate(contents.attempts)
    ]
    return documents.dump(
        documents.Document(
            revision=revision,
            attempts=attempts,
            full_until=None if contents.full_until is None else EPOCH + contents.full_until,
            keys={documents.short_hash(contents.key_id): documents.KeyState(generation, token, failure)},
        )
    )
