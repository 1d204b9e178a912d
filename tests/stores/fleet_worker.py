"""Ask for a token `--times` times, and print each result as one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime, timedelta

import attrs

from truecaller_vbc import TokenError, TokenPolicy, VBCSession


async def main(times: int, pause: float, mint_timeout: float) -> None:
    policy = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=mint_timeout))
    async with VBCSession.from_env(policy=policy) as vbc:
        for _ in range(times):
            try:
                token = await vbc.token()
            except TokenError as error:
                answer: dict[str, object] = {"error": type(error).__name__}
                if error.retry_at is not None:
                    await asyncio.sleep((error.retry_at - datetime.now(UTC)).total_seconds() + 0.01)
            else:
                answer = {"fingerprint": token.fingerprint}
            status = vbc.status()
            print(json.dumps({**answer, "mints": status.mints_in_window, "generation": status.generation}), flush=True)
            await asyncio.sleep(pause)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--mint-timeout", type=float, default=15.0)
    options = parser.parse_args()
    asyncio.run(main(options.times, options.pause, options.mint_timeout))
