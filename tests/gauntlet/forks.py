"""Fork the simulation, and let the child use the sessions that it has inherited."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from typing import TYPE_CHECKING, Final

from truecaller_vbc import SessionClosedError

from .faulty_store import documents_in

if TYPE_CHECKING:
    from .simulated_session import Session
    from .simulation import Simulation

_LONGEST: Final = 5.0
_RIGHT: Final = 0


def fork(simulation: Simulation) -> str | None:
    """Fork, and wait for the child. Return what it did wrong, if anything."""
    before = _owned(simulation)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            said = _live_as_child(simulation)
        except BaseException as error:  # whatever it is, the child must end here
            said = repr(error)
        os.write(writer, said.encode()[:4000])
        os._exit(_RIGHT)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if status or said:
        return said or f"the child ended with {status}"
    return None if _owned(simulation) == before else "a child changed what its parent owns"


def _owned(simulation: Simulation) -> list[object]:
    """Return what only the parent may change: stored documents, its ledgers, and what the server was asked."""
    documents = [documents_in(session.store) for session in simulation.sessions]
    ledgers = [session.vbc._holder.state.ledger for session in simulation.sessions]
    return [documents, ledgers, len(simulation.sandbox._log._records)]


def _live_as_child(simulation: Simulation) -> str:
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the child ends soon
    return asyncio.run(_use_all(simulation.sessions))


async def _use_all(sessions: list[Session]) -> str:
    """Use every session in every way. Return what it did other than to refuse, if anything."""
    wrong = []
    for session in sessions:
        for name, use in (("token", _token), ("get", _get), ("warm_up", _warm_up), ("close", _close)):
            try:
                async with asyncio.timeout(_LONGEST):
                    said = await use(session)
            except SessionClosedError:
                continue
            except BaseException as error:
                said = repr(error)
            if said:
                wrong.append(f"{name} of inherited session {session.number}: {said}")
    return "; ".join(wrong)


async def _token(session: Session) -> str:
    return f"gave {await session.vbc.token()}"


async def _warm_up(session: Session) -> str:
    return f"gave {await session.vbc.warm_up()}"


async def _get(session: Session) -> str:
    async with session.vbc.get("/clients/x/labels") as response:
        return f"sent a request, answered {response.status}"


async def _close(session: Session) -> str:
    await session.vbc.close()
    return ""
