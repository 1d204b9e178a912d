"""Hand a session or a store to child processes, and print what the children and this process got, as JSON.

    python -m tests.processes.forking_parent METHOD THING

Account and store are those of the environment. THING is made in this process: a new session, an open one, or a store.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import warnings
from multiprocessing.context import BaseContext
from typing import Any

from truecaller_vbc import MemoryStore, VBCError, VBCSession

CHILDREN = 3


async def _use(kind: str, thing: Any) -> str:
    if kind == "open session":
        return str((await thing.token()).fingerprint)
    session = thing if kind == "new session" else VBCSession.from_env(**({} if thing is None else {"store": thing}))
    async with session as vbc:
        token = await vbc.token()
        await vbc.labels.list()
        return str(token.fingerprint)


def _child(kind: str, thing: Any, answers: Any) -> None:
    try:
        answer = asyncio.run(_use(kind, thing))
    except VBCError as error:
        answer = type(error).__name__
    answers.put(answer)


def _children(context: Any, kind: str, thing: Any) -> list[str]:
    answers = context.SimpleQueue()
    children = []
    for _ in range(CHILDREN):
        child = context.Process(target=_child, args=(kind, thing, answers))
        try:
            child.start()
        except VBCError as error:
            return [f"not started: {type(error).__name__}"]
        children.append(child)
    given = [answers.get() for _ in children]
    for child in children:
        child.join()
    return given


async def _open_parent(context: BaseContext, kind: str, store: Any) -> dict[str, object]:
    """Use a session, start the children under the running loop, and use the session again."""
    async with VBCSession.from_env(**({} if store is None else {"store": store})) as vbc:
        before = await vbc.token()
        await vbc.labels.list()
        thing = vbc if kind == "open session" else store
        children = _children(context, kind, thing)
        vbc._holder._clear_fast_token()
        await vbc.labels.list()
        assert await vbc.token() == before
    if store is not None:
        assert await _use("store", store) == before.fingerprint
    return {"children": children, "parent": before.fingerprint}


def main(method: str, kind: str) -> None:
    context = multiprocessing.get_context(method)
    if kind == "new session":
        children = _children(context, kind, VBCSession.from_env())
        print(json.dumps({"children": children, "parent": asyncio.run(_use("", None))}))
        return
    environment = VBCSession.from_env()._our_store
    store = {"store": environment, "memory": MemoryStore()}.get(kind)
    print(json.dumps(asyncio.run(_open_parent(context, kind, store))))


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # of threads that a fork does not copy
    main(*sys.argv[1:])
