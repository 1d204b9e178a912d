"""List the account's labels from a cron job. Set TRUECALLER_VBC_STORE to a file, or each run spends a mint."""

import asyncio
import sys

from truecaller_vbc import VBCError, VBCSession


async def main() -> int:
    try:
        async with VBCSession.from_env(refresh="on_demand") as vbc:
            for label in await vbc.labels.list():
                print(label.id, label.name)
    except VBCError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(asyncio.run(main()))
