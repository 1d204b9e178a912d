"""Test typed calls whose token is refused: the caller is told the server's words, and one mint at most is spent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import pytest

from truecaller_vbc import TokenPolicy, UnauthorizedError, VBCSession
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

from .sandbox_session import FAST, FEATURE_SET, receiver, record
from .test_api_envelopes import NUMBERS

WORDS: Final = "500/50011 - Failed to parse token"
FORMS: Final[dict[str, tuple[int, Any]]] = {
    "401 E1": (401, {"slug": "authorization-error", "message": "please login again"}),
    "401 E2": (401, {"field": "token", "message": "please login again", "status": "error"}),
    "401 E3": (401, {"status_info": {"status": "error", "message": "please login again"}}),
    "401 HTML": (401, "<html><body>please login again</body></html>"),
    "401 without a body": (401, ""),
    "50011": (500, {"slug": "internal-server-error", "message": WORDS}),
    "50011 as E2": (500, {"field": "", "message": WORDS, "status": "error"}),
    "50011 as E3": (500, {"status_info": {"status": "error", "message": WORDS}}),
}
# The endpoint of each call.
ENDPOINTS: Final[dict[str, Any]] = {
    "push": "calls",
    "push_batch": "batch",
    "push_all": "batch",
    "batch_status": "status",
    "wait_for_batch": "status",
    "labels": "labels",
    "feature_sets": "feature_sets",
    "numbers": "numbers",
    "publish": "publish",
    "delist": "delist",
    "wait_until_listed": "numbers",
}


@asynccontextmanager
async def session(grace: float) -> AsyncIterator[tuple[Sandbox, VBCSession]]:
    """Open a sandbox, and a session with a token that counts as fresh for `grace` seconds."""
    policy = TokenPolicy(rejection_grace=timedelta(seconds=grace))
    rules = SandboxRules(api=ApiRules(realtime_per_second=None, batch_per_minute=None))
    async with (
        Sandbox(rules) as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=policy, api_policy=FAST) as vbc,
    ):
        await vbc.warm_up()
        yield sandbox, vbc


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


CALLS: Final[dict[str, Callable[[VBCSession, str], Awaitable[Any]]]] = {
    "push": lambda vbc, _: vbc.calls.push(record()),
    "push_batch": lambda vbc, _: vbc.calls.push_batch([record()]),
    "push_all": lambda vbc, _: _all(vbc.calls.push_all([record()])),
    "batch_status": lambda vbc, batch: vbc.calls.batch_status(batch),
    "wait_for_batch": lambda vbc, batch: vbc.calls.wait_for_batch(batch, timeout=5),
    "labels": lambda vbc, _: vbc.labels.list(),
    "feature_sets": lambda vbc, _: _all(vbc.numbers.feature_sets()),
    "numbers": lambda vbc, _: _all(vbc.numbers.numbers()),
    "publish": lambda vbc, _: vbc.numbers.publish(FEATURE_SET, NUMBERS),
    "delist": lambda vbc, _: vbc.numbers.delist(FEATURE_SET, NUMBERS),
    "wait_until_listed": lambda vbc, _: vbc.numbers.wait_until_listed(NUMBERS, timeout=5),
}


def requests(sandbox: Sandbox) -> int:
    """Count the requests but those for a token."""
    return sum(not entry.path.endswith("/token") for entry in sandbox.log)


def check_words(error: UnauthorizedError, form: str) -> None:
    """Check that the error has status and words of the answer."""
    status, body = FORMS[form]
    assert error.status == status
    if body:
        words = WORDS if status == 500 else "please login again"
        assert words in (error.message or "")
        assert words in str(error)
    if isinstance(body, dict):
        assert error.slug == body.get("slug")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_fresh_token_that_is_refused(name: Any, form: str) -> None:
    """A token that was just minted is not replaced: the caller is told at once."""
    status, body = FORMS[form]
    async with session(grace=30) as (sandbox, vbc):
        sandbox.set_outage(ENDPOINTS[name], status=status, body=body)
        with pytest.raises(UnauthorizedError) as caught:
            await CALLS[name](vbc, "b")

        check_words(caught.value, form)
        assert sandbox.mints == 1
        assert requests(sandbox) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_replacement_that_is_refused(name: Any, form: str) -> None:
    """An older token is replaced by one mint, and the refusal of the new one is told in the words of that answer."""
    status, body = FORMS[form]
    async with session(grace=0) as (sandbox, vbc):
        sandbox.fail_next(ENDPOINTS[name], status=401, body={"slug": "authorization-error", "message": "the first"})
        sandbox.set_outage(ENDPOINTS[name], status=status, body=body)
        with pytest.raises(UnauthorizedError) as caught:
            await CALLS[name](vbc, "b")

        check_words(caught.value, form)
        assert sandbox.mints == 2
        assert requests(sandbox) == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_token_that_dies_in_mid_call(name: Any, form: str) -> None:
    """A dead token costs one mint, and the call is done, once."""
    status, body = FORMS[form]
    async with session(grace=0) as (sandbox, vbc):
        batch = await vbc.calls.push_batch([record(1)])
        await vbc.numbers.publish(FEATURE_SET, [*NUMBERS, receiver(1)])
        await vbc.numbers.wait_until_listed(NUMBERS, timeout=5)
        taken = Counter(sandbox.accepted)
        batches = len(sandbox.batches)
        sandbox.fail_next(ENDPOINTS[name], status=status, body=body)
        await CALLS[name](vbc, batch.batch_id)

        assert sandbox.mints == 2
        assert (Counter(sandbox.accepted) - taken).total() == (name in ("push", "push_batch", "push_all"))
        assert len(sandbox.batches) - batches == (name in ("push_batch", "push_all"))


async def test_all_calls_at_once() -> None:
    """All calls whose tokens are refused at the same time share one mint, and all are told."""
    async with session(grace=0) as (sandbox, vbc):
        for endpoint in set(ENDPOINTS.values()):
            sandbox.set_outage(endpoint, status=401, body=FORMS["401 E1"][1])
        results = await asyncio.gather(*(make(vbc, "b") for make in [*CALLS.values()] * 5), return_exceptions=True)

        assert {type(result) for result in results} == {UnauthorizedError}
        assert sandbox.mints == 2


@pytest.mark.parametrize("grace", [0, 30])
@pytest.mark.parametrize("form", FORMS)
async def test_refusal_in_the_middle_of_a_list(form: str, grace: float) -> None:
    """A page whose token is refused ends the list with that error, after the items before it."""
    status, body = FORMS[form]
    async with session(grace) as (sandbox, vbc):
        first = {"numbers": [{"phone_number": receiver(1)}], "pagination_information": {"total_page_count": 3}}
        sandbox.fail_next("numbers", body=first)
        listing = vbc.numbers.numbers()
        found = [(await anext(listing)).phone_number]
        sandbox.set_outage("numbers", status=status, body=body)
        with pytest.raises(UnauthorizedError) as caught:
            await anext(listing)

        check_words(caught.value, form)
        assert found == [receiver(1)]
        assert sandbox.mints == 1 + (grace == 0)


@pytest.mark.parametrize("status", [200, 400, 422, 503])
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_words_of_a_refused_token_under_another_status(name: Any, status: int) -> None:
    """The slug of a refused token says so under any status; only the documented ones are answered by a mint."""
    async with session(grace=0) as (sandbox, vbc):
        sandbox.set_outage(ENDPOINTS[name], status=status, body=FORMS["401 E1"][1])
        with pytest.raises(UnauthorizedError, match="please login again") as caught:
            await CALLS[name](vbc, "b")

        assert caught.value.slug == "authorization-error"
        assert sandbox.mints == 1
        assert requests(sandbox) == 1


async def test_replay_that_fails() -> None:
    """A replay that gets a 503 says nothing of its token, and is the caller's answer."""
    async with session(0) as (sandbox, vbc):
        sandbox.fail_next("labels", status=401)
        sandbox.fail_next("labels", status=503)
        async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
            assert response.status == 503
        assert await vbc.labels.list()
        assert sandbox.mints == 2
