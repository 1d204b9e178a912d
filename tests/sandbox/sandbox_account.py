"""A sandbox, and a client with a token that calls each endpoint in one line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

from .sandbox_wire import Answer, Wire, bearer, wire

LABEL = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
FEATURE_SET = "069d2e3a-41e6-41f9-a768-157d7e3bd6b9"
HOUR = 3_600_000


def call_record(**changes: Any) -> dict[str, Any]:
    """Return a record that real time and v2 batches accept, with `changes`; None leaves a field out."""
    now = int(time.time() * 1000)
    record = {
        "label_id": LABEL,
        "caller_number": "911234567890",
        "receiver_number": "919876543210",
        "starts_at": now,
        "ends_at": now + HOUR,
    } | changes
    return {name: value for name, value in record.items() if value is not None}


def plus_record(**changes: Any) -> dict[str, Any]:
    """Return a record that v3 batches accept."""
    return call_record(**{"caller_number": "+911234567890", "receiver_number": "+919876543210"} | changes)


class Client:
    """Call the endpoints with a live token."""

    def __init__(self, wire: Wire, token: str) -> None:
        self.wire = wire
        self.token = token

    @property
    def sandbox(self) -> Sandbox:
        return self.wire.sandbox

    async def send(self, method: str, path: str, *, version: str = "", **kwargs: Any) -> Answer:
        path = f"{version}{self.wire.account}{path}"
        return await self.wire.send(method, path, headers=bearer(self.token), **kwargs)

    async def call(self, record: Any) -> Answer:
        return await self.send("POST", "/dynamic_call_record", version="/v2", json=record)

    async def batch(self, *records: Any, version: str = "/v3") -> Answer:
        body = {"call_records": records}
        return await self.send("POST", "/dynamic_call_records", version=version, json=body)

    async def status(self, batch_id: str, version: str = "/v3") -> Answer:
        return await self.send("GET", "/dynamic_call_records", version=version, params={"batchId": batch_id})

    async def finished(self, *records: Any) -> list[dict[str, Any]]:
        """Push a batch, and return its records as the status shows them."""
        data: list[dict[str, Any]] = (await self.status((await self.batch(*records)).json["batch_id"])).json["data"]
        return data

    async def manage(self, action: str, *numbers: Any, feature_set: str = FEATURE_SET) -> Answer:
        path = f"/number_management/feature_sets/{feature_set}/numbers/{action}"
        return await self.send("POST", path, json={"phone_numbers": numbers})

    async def numbers(self, **query: Any) -> Answer:
        return await self.send("GET", "/number_management/numbers", params=query)

    async def shown(self, **query: Any) -> list[str]:
        """Return the numbers that are listed."""
        return [one["phone_number"] for one in (await self.numbers(**query)).json["numbers"]]


@asynccontextmanager
async def account(*, clock: Callable[[], float] | None = None, **rules: Any) -> AsyncIterator[Client]:
    """Run a sandbox with these `ApiRules`, and a client."""
    async with wire(SandboxRules(api=ApiRules(**rules)), clock=clock) as w:
        yield Client(w, await w.token())
