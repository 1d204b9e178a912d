"""Any number of sandboxes in one process of their own, told what to do over its standard input.

It is started as a script by `Farm`. One line of JSON is one order, and one line is the answer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import Any, Self

from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

NO_LIMITS = ApiRules(realtime_per_second=None, batch_per_minute=None)

ENDLESS_MINTS = 1_000_000


class House:
    """One sandbox, from outside."""

    def __init__(self, farm: Farm, number: int, facts: dict[str, Any]) -> None:
        self._farm = farm
        self._number = number
        self.facts = facts

    def tell(self, order: str, **details: Any) -> Any:
        """Let it do `order`: outage, end_outage, fail_next, pause, resume, revoke, stats or close."""
        return self._farm.order(do=order, number=self._number, **details)

    @property
    def mints(self) -> int:
        return int(self.tell("stats")["mints"])


class Farm:
    """The process, as a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        self._process.wait()

    def order(self, **order: Any) -> Any:
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def house(self, **rules: Any) -> House:
        """A new sandbox. It grants any number of mints, unless told otherwise: they are what is counted."""
        number, facts = self.order(do="open", rules={"max_mints": ENDLESS_MINTS} | rules)
        return House(self, number, facts)


def stats(sandbox: Sandbox) -> dict[str, Any]:
    """What happened so far."""
    log = sandbox.log
    calls = [record for record in log if not record.path.endswith("/token")]
    return {
        "mints": sandbox.mints,
        "token_requests": sandbox.token_requests,
        "token_calls_at": [record.at for record in log if record.path.endswith("/token")],
        "statuses": Counter(str(record.status) for record in calls),
        "with_header": sum(record.has_authorization for record in calls),
    }


async def obey(sandboxes: list[Sandbox], order: dict[str, Any]) -> Any:
    """Do as told."""
    if order["do"] == "open":
        sandbox = await Sandbox(SandboxRules(api=NO_LIMITS, **order["rules"])).__aenter__()
        sandboxes.append(sandbox)
        it = sandbox.credentials
        facts = {"account": it.client_account_id, "key_id": it.key_id, "api_key": str(it.api_key)}
        return len(sandboxes) - 1, facts | {"base_url": sandbox.base_url}
    sandbox, details = sandboxes[order["number"]], order.get("fault", {})
    match order["do"]:
        case "stats":
            return stats(sandbox)
        case "outage":
            sandbox.set_outage(order["endpoint"], **details)
        case "end_outage":
            sandbox.end_outage(order["endpoint"])
            await sandbox.drop_connections()
        case "fail_next":
            sandbox.fail_next(order["endpoint"], **details)
        case "pause":
            await sandbox.pause_listening()
        case "resume":
            await sandbox.resume_listening()
        case "revoke":
            sandbox.revoke_all()
        case "close":
            await sandbox.__aexit__(None, None, None)
    return None


async def main() -> None:
    """Obey until the parent goes away."""
    sandboxes: list[Sandbox] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await obey(sandboxes, json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
