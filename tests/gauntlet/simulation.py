"""Simulate one account, its sandbox and the sessions that share it, in virtual time on one loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import aiohttp
import attrs
from yarl import URL

from truecaller_vbc import Credentials, VBCError
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.secret import Secret
from truecaller_vbc.token.document import short_hash

from .expected_failures import INSTANT
from .invariants import Checker
from .recorder import Recorder
from .settings import Settings
from .simulated_session import Call, Session
from .site import NEVER_YET, Site

T = TypeVar("T")
VAULT_TIME: Final = 0.1
DOCUMENTED_ERRORS: Final = (VBCError, aiohttp.ClientError, TimeoutError)
"""Errors that a caller may get. Any other type is a bug."""


class Simulation:
    """Run the steps of one account, and let the checker see everything that happens.

    Args:
        site: shared with the other accounts.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.number = len(site.accounts)
        site.accounts.append(self)
        self.rng, self.loop, self.clock, self.now = site.rng, site.loop, site.clock, site.now
        self.scanner, self.condition, self.freezer, self.pools = site.scanner, site.condition, site.freezer, site.pools
        self.settings = site.settings
        if self.number:
            rules = Settings.drawn(random.Random(f"account {self.number} of {site.seed}")).sandbox
            self.settings = attrs.evolve(site.settings, sandbox=rules)
        self.sandbox = Sandbox(self.settings.sandbox, clock=self.now)
        self.recorder = Recorder()
        self.recorder.attach(self.sandbox, self.now)
        self.sessions: list[Session] = []
        self.callers: set[asyncio.Task[Any]] = set()
        self.waiting: list[Call] = []
        self.closing: set[asyncio.Task[Any]] = set()
        self.vault_gives_wrong_key = False
        self.vault_is_down = False
        self.vault_healthy_since = NEVER_YET
        self.key_changed_at = NEVER_YET
        self.paused = False
        self.revocations: list[float] = []
        self.granted: dict[int, float] = {}
        self.checker = Checker(self)

    @property
    def key(self) -> str:
        """What the account's document is called in a store."""
        return short_hash(str(URL(self.sandbox.base_url)), self._account)

    def reached(self, point: str, process: int, document: str | None) -> None:
        """Note what a process does next for this account: `document` is what it reads in a shared store."""
        if point == "read":
            self.recorder.store_read(process, self.now())
            self.checker.pools.store_read(process, document)
        if point == "granted":
            self.granted[process] = self.now()

    # Credentials

    def right_credentials(self) -> Credentials:
        """Return a copy, since the sandbox's credentials may change later."""
        return attrs.evolve(self.sandbox.credentials)

    def change_key(self) -> None:
        """Replace the API key, which ends all tokens; only the vault has the new key."""
        new = f"{self.rng.getrandbits(32):08x}-0000-4000-8000-{self.rng.getrandbits(48):012x}"
        object.__setattr__(self.sandbox.credentials, "api_key", Secret(new))
        self.scanner.known.add(new)
        self.key_changed_at = self.now()
        self.revoke_all()

    def revoke_all(self) -> None:
        """End all tokens at the server."""
        self.revocations.append(self.now())
        self.sandbox.revoke_all()

    async def vault(self) -> Credentials:
        await asyncio.sleep(VAULT_TIME)
        if self.vault_is_down:
            raise OSError(111, "the vault is down")
        credentials = self.right_credentials()
        return attrs.evolve(credentials, api_key=self.wrong_key()) if self.vault_gives_wrong_key else credentials

    def wrong_key(self) -> str:
        wrong = "00000000-0000-4000-8000-000000000000"
        self.scanner.known.add(wrong)
        return wrong

    # Sessions

    async def open_session(self) -> Session:
        """Start a process with a session for each account, and return that of this account."""
        process = self.site.new_process()
        opened = {account.number: Session(account, process) for account in self.site.accounts}
        for account in self.site.accounts:
            session = opened[account.number]
            await self._start(session, session.open())
            account.sessions.append(session)
        return opened[self.number]

    def _start(self, session: Session, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task in the process of a session."""
        with self.loop.as_process(session.number):
            return asyncio.create_task(coroutine)

    def in_process(self, session: Session, callback: Callable[[], object]) -> None:
        """Call something in the process of a session, now or when that process goes on."""
        with self.loop.as_process(session.number):
            self.loop.call_soon(callback)

    async def close_session(self, session: Session) -> None:
        """End the process of a session, and so the sessions of all accounts in it."""
        await self._start(session, self._close(session))

    async def _close(self, session: Session) -> None:
        for account in self.site.accounts:
            for it in [it for it in account.sessions if it.number == session.number]:
                it.closed = True
                account.sessions.remove(it)
                await it.close()
        await self.site.end_process(session.number)

    # Calls

    def call(self, session: Session, kind: str) -> asyncio.Task[Call]:
        """Start a call in its own task."""
        call = Call(session.number, kind, self.now(), self.loop.time())
        task = self._start(session, self._call(session, call))
        self.callers.add(task)
        task.add_done_callback(self.callers.discard)
        return task

    async def _call(self, session: Session, call: Call) -> Call:
        self.count(f"call {call.kind}")
        call.began, call.began_loop = self.now(), self.loop.time()  # later than asked for, in a process that was frozen
        self.waiting.append(call)
        try:
            await self._send(session, call)
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        except Exception as error:  # the checker decides
            call.error = error
        finally:
            self.waiting.remove(call)
            self.recorder.read_log(self.sandbox)
            if not call.cancelled:
                self.checker.after_call(session, call)
        return call

    async def _send(self, session: Session, call: Call) -> None:
        vbc = session.vbc
        if call.kind == "token":
            call.token = await vbc.token()
            return
        if call.kind in ("older", "paced") and session.pool is not None:
            await (session.pool.send_older(call) if call.kind == "older" else session.pool.send_paced(call))
            return
        if call.kind == "middleware":
            async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as http:
                async with http.get(f"{self.sandbox.base_url}/clients/{self._account}/labels") as response:
                    call.status = response.status
                    await response.read()
            return
        options: dict[str, Any] = {}
        if call.kind == "hurried":
            options["timeout"] = aiohttp.ClientTimeout(total=self.rng.choice((0.01, 0.5, 3.0)))
        if call.kind == "post":
            options["json"] = {"a": 1}
        method, path = ("POST", "echo") if call.kind == "post" else ("GET", "labels")
        async with vbc.request(method, f"/clients/{self._account}/{path}", **options) as response:
            call.status = response.status
            await response.read()

    @property
    def _account(self) -> str:
        return self.sandbox.credentials.client_account_id

    def decided_at(self, call: Call) -> list[float]:
        """Return when the result of a call may have been decided.

        That is before the machine slept, if it did so before delivery or while the vault was asked once more; the same
        for its process, if that was frozen.
        """
        awake = self.loop.time() - self.site.suspended_at
        asleep_meanwhile = call.began_loop <= self.site.suspended_at and awake <= VAULT_TIME + INSTANT
        before = [self.now() - self.site.suspended_for] if asleep_meanwhile else []
        return [self.now(), *before, *self.freezer.frozen_during(call)]

    # The end

    async def end_calls(self) -> None:
        """End all calls, and wait for sessions that are being closed."""
        if self.paused:
            await self.sandbox.resume_listening()
        await self.sandbox.drop_connections()
        for task in list(self.callers):
            task.cancel()
        await asyncio.gather(*self.callers, *self.closing, return_exceptions=True)

    def run_in_background(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a task that `end_calls` waits for."""
        task = asyncio.create_task(coroutine)
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)

    def count(self, what: str) -> None:
        self.site.count(what)
