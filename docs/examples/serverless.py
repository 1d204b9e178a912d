"""Announce a call from a serverless function: a session for each invocation, and the token in a shared store.

Set TRUECALLER_VBC_STORE to ``redis://...``: instances come and go, and each would spend a mint of its own.
"""

import asyncio
from typing import Any

from truecaller_vbc import CallRecord, InvalidRecordError, VBCSession


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    try:
        record = CallRecord.from_mapping(event)
    except InvalidRecordError as error:
        return {"statusCode": 422, "problems": [problem.to_dict() for problem in error.problems]}
    return {"statusCode": 200, "result": asyncio.run(announce(record))}


async def announce(record: CallRecord) -> dict[str, Any]:
    async with VBCSession.from_env(refresh="on_demand") as vbc:
        return (await vbc.calls.push(record)).to_dict()
