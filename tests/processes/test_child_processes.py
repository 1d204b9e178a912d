"""Tests of child processes of every start method that inherit a session or a store, or are sent one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc.sandbox import Sandbox

from ..cli.cli_process import environment
from ..redis_server import redis_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
]
ROOT = Path(__file__).parents[2]
CHILDREN = 3


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as it:
        yield it


async def _run(sandbox: Sandbox, store: str, *program: str) -> Any:
    """Return what a program of this folder prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "default", "-m", *program),
        env={**environment(sandbox), "TRUECALLER_VBC_STORE": store},
        cwd=ROOT,
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(60):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert errors == b""
    return json.loads(out)


async def _answers(sandbox: Sandbox, store: str, method: str, kind: str) -> tuple[set[str], str]:
    """Return the different answers of the children, and the token of the parent."""
    answer = await _run(sandbox, store, "tests.processes.forking_parent", method, kind)
    return set(answer["children"]), answer["parent"]


@pytest.mark.parametrize("kind", ["new session", "store", "another session"])
async def test_forked_children_share_the_token(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """A session that is made before a fork and opened after it, as with preloading servers, and a store: one mint."""
    with redis_server() as server:
        for store in ((tmp_path / "token.json").as_uri(), server.url):
            children, parent = await _answers(sandbox, store, "fork", kind)
            assert children == {parent}

    assert sandbox.mints == 2


@pytest.mark.parametrize(("kind", "error"), [("open session", "SessionClosedError"), ("memory", "StoreRefusedError")])
async def test_forked_children_are_refused(sandbox: Sandbox, tmp_path: Path, kind: str, error: str) -> None:
    """A session that was opened before the fork, and memory, are refused in the child, and serve the parent."""
    children, _ = await _answers(sandbox, (tmp_path / "token.json").as_uri(), "fork", kind)

    assert children == {error}
    assert sandbox.mints == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize(
    ("kind", "redis", "answer"),
    [
        ("new session", False, "not started: SessionClosedError"),
        ("open session", False, "not started: SessionClosedError"),
        ("store", False, None),
        ("store", True, "not started: StoreRefusedError"),
        ("memory", False, "not started: StoreRefusedError"),
    ],
)
async def test_started_children(
    sandbox: Sandbox, tmp_path: Path, method: str, kind: str, redis: bool, answer: str | None
) -> None:
    """A session cannot be sent to a process, nor memory or connections; a file store can, and the token is shared."""
    with redis_server() as server:
        store = server.url if redis else (tmp_path / "token.json").as_uri()
        children, parent = await _answers(sandbox, store, method, kind)

    assert children == {answer or parent}
    assert sandbox.mints == 1


async def test_workers_of_a_preloading_server(sandbox: Sandbox, tmp_path: Path) -> None:
    """Workers that end normally leave the server's session and connections as they are, and open what was not open."""
    answer = await _run(sandbox, (tmp_path / "token.json").as_uri(), "tests.processes.preloading_server")
    before, after = answer["tokens"]

    assert before == after
    assert answer["codes"] == [0, 0, 0]
    for refusal, token, state in answer["workers"]:
        assert "opened before a fork" in refusal
        assert (token, state) == (before, "fresh")
    assert sandbox.mints == 1
