"""`vbc.calls.push` and `push_all`, beside bare aiohttp that posts the same JSON.

Fair, since both send the same records to the same server, in a process of its own, without a pace. `push` makes, checks
and encodes its record each time, and the bare side encodes it; `push_all` gets mappings as a file would give them,
makes, checks and encodes them, while the bare side sends bytes that were encoded before, as many requests at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
from rounds import Row, interleaved, paired
from server import call_record, server

from truecaller_vbc import APIPolicy, CallRecord, VBCSession

CONCURRENT = 64
CHUNK = 500
IN_FLIGHT = 4


def mappings(count: int) -> Iterator[dict[str, Any]]:
    """Records as a file gives them, numbers in E.164."""
    common = call_record()
    for number in range(count):
        yield common | {"caller_number": "+911234567890", "receiver_number": f"+91{7_000_010_000 + number * 10:010}"}


async def push(rounds: int, scale: float) -> Row:
    """Records per second, one by one."""
    share = int(20 * max(scale, 0.5))
    with server() as there:
        async with (
            aiohttp.ClientSession() as bare,
            VBCSession(there.credentials, base_url=there.base_url, api_policy=APIPolicy(realtime_rate=None)) as vbc,
        ):
            url = f"{there.base_url}/v2/clients/{there.credentials.client_account_id}/dynamic_call_record"
            header = {"Authorization": str((await vbc.token()).authorization)}
            wire = call_record()
            fields: dict[str, Any] = next(mappings(1))

            async def one_of_ours() -> None:
                for _ in range(share):
                    await vbc.calls.push(CallRecord(**fields))

            async def one_bare() -> None:
                for _ in range(share):
                    async with bare.post(url, json=wire, headers=header) as response:
                        assert response.status == 200  # noqa: S101
                        await response.json()

            async def ours() -> float:
                began = time.perf_counter()
                await asyncio.gather(*(one_of_ours() for _ in range(CONCURRENT)))
                return share * CONCURRENT / (time.perf_counter() - began)

            async def beside() -> float:
                began = time.perf_counter()
                await asyncio.gather(*(one_bare() for _ in range(CONCURRENT)))
                return share * CONCURRENT / (time.perf_counter() - began)

            pairs = await interleaved(ours, beside, rounds)
    return paired("calls.push beside bare aiohttp", "/s", pairs, target=0.9, at_least=True)


async def push_all(rounds: int, scale: float) -> Row:
    """Records per second, in batches."""
    chunks = int(20 * max(scale, 0.5))
    with server() as there:
        async with (
            aiohttp.ClientSession() as bare,
            VBCSession(there.credentials, base_url=there.base_url, api_policy=APIPolicy(batch_rate=None)) as vbc,
        ):
            url = f"{there.base_url}/v3/clients/{there.credentials.client_account_id}/dynamic_call_records"
            header = {
                "Authorization": str((await vbc.token()).authorization),
                "Content-Type": "application/json",
            }
            rows = list(mappings(chunks * CHUNK))
            bodies = [
                json.dumps({"call_records": rows[first : first + CHUNK]}).encode()
                for first in range(0, len(rows), CHUNK)
            ]

            async def ours() -> float:
                began = time.perf_counter()
                async for result in vbc.calls.push_all(rows, in_flight=IN_FLIGHT):
                    assert result.outcome == "acknowledged"  # noqa: S101
                return len(rows) / (time.perf_counter() - began)

            async def sender(todo: Iterator[bytes]) -> None:
                for body in todo:
                    async with bare.post(url, data=body, headers=header) as response:
                        assert response.status == 200  # noqa: S101
                        await response.read()

            async def beside() -> float:
                began, todo = time.perf_counter(), iter(bodies)
                await asyncio.gather(*(sender(todo) for _ in range(IN_FLIGHT)))
                return len(rows) / (time.perf_counter() - began)

            pairs = await interleaved(ours, beside, rounds)
    return paired("calls.push_all beside posting encoded bytes", "records/s", pairs, target=0.7, at_least=True)


async def run(rounds: int, scale: float) -> list[Row]:
    """One row each."""
    return [await push(rounds, scale), await push_all(rounds, scale)]
