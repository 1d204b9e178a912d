"""One account, its sandbox, and the sessions that share it: everything in one loop of virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiohttp
import attrs

from truecaller_vbc import AccessToken, Credentials, FileStore, MemoryStore, TokenPolicy, VBCError, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.secret import Secret
from truecaller_vbc.stores import TokenStore
from truecaller_vbc.token.endpoint import Answer
from truecaller_vbc.token.events import TokenEvent

from ..token.virtual_time import LoopClock
from .faulty_store import Condition, FickleStore
from .invariants import Judge
from .recorder import Attempt, WatchedEndpoint, Witness
from .secret_scanner import SecretsWatch
from .simulation_loop import GauntletLoop

T = TypeVar("T")
POLICY: Final = TokenPolicy()
EXPECTED: Final = (VBCError, aiohttp.ClientError, TimeoutError)
"""What a caller may get. Whatever else comes is a bug."""


@attrs.define(eq=False)
class Call:
    """What one caller asked for, and what came of it."""

    session: int
    kind: str
    began: float
    began_loop: float
    status: int | None = None
    token: AccessToken | None = None
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def result(self) -> str:
        return type(self.error).__name__ if self.error else str(self.status or (self.token and "token"))


class Session:
    """A `VBCSession` of a world, and what the world knows of it."""

    def __init__(self, world: World, number: int, group: int, store: TokenStore) -> None:
        self.world = world
        self.number = number
        self.group = group
        self.opened = world.now()
        self.closed = False
        self.events: list[TokenEvent] = []
        self.vbc = VBCSession(
            world.vault if world.rules_of_life.vault else world.right_credentials(),
            base_url=world.sandbox.base_url,
            store=store,
            policy=POLICY,
            clock=world.clock,
            on_event=self._heard,
        )
        minter = self.vbc._holder._minter
        minter._endpoint = cast(Any, WatchedEndpoint(minter._endpoint, self))

    def _heard(self, event: TokenEvent) -> None:
        self.world.watch.read(repr(event), "the repr of an event")
        self.world.count(f"event {type(event).__name__}")

    def usable(self) -> AccessToken | None:
        """The token that it may hand out now, looked up without asking for it."""
        current = self.vbc._holder.state.usable(self.world.now())
        return current.token if current is not None else None

    # The wire

    def sends(self) -> Attempt:
        attempt = Attempt(self.number, self.group, self.world.now(), ahead=self.usable() is not None)
        self.world.judge.about_to_mint(attempt)
        self.world.witness.attempts.append(attempt)
        return attempt

    def hears(self, attempt: Attempt, answer: Answer) -> None:
        attempt.ended, attempt.answer = self.world.now(), answer
        if answer.result:
            self.world.watch.known.add(str(answer.result.value))
        self.world.judge.has_minted(attempt)


@attrs.frozen
class RulesOfLife:
    """What a world does not change while it lasts.

    Args:
        sandbox: the server's rules.
        shared: whether the sessions share one store.
        file: whether stores are files.
        vault: whether credentials come from a callable.
        most_sessions: open at the same time.
    """

    sandbox: SandboxRules
    shared: bool
    file: bool
    vault: bool
    most_sessions: int

    @classmethod
    def drawn(cls, rng: random.Random) -> RulesOfLife:
        """Every switch of the sandbox at random, the documented value being the likely one."""

        def either(usual: T, *others: T) -> T:
            return usual if rng.random() < 0.6 else rng.choice(others)

        rules = SandboxRules(
            token_lifetime=either(3600.0, 900.0, 2600.0, 7200.0),
            window=either("sliding", "fixed"),
            over_quota=either("429", "429-retry-after", "400", "403"),
            count_failed=rng.random() < 0.15,
            revoke_previous=rng.random() < 0.25,
            dead_token=either("401", "500", "401-flat"),
            reuse_token=rng.random() < 0.2,
            reuse_until=either(0.0, 60.0, 1800.0),
            rejected_credentials=either(401, 400, 403, 404),
            latency=either(0.0, 0.05, 2.0),
            token_latency=either(0.0, 0.2, 4.0),
            date_header=rng.random() < 0.8,
            created_at=either("iso", "garbage", "missing"),
        )
        return cls(rules, rng.random() < 0.7, rng.random() < 0.3, rng.random() < 0.4, rng.choice((1, 1, 2, 3, 5)))


class World:
    """Plays steps; its judge looks on.

    Args:
        seed: of everything.
        place: where file stores may put their files.
        watch: reads the logs.
    """

    def __init__(self, seed: int, place: Path, watch: SecretsWatch) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        random.seed(seed)
        self.place = place
        self.watch = watch
        self.counts: dict[str, int] = {}
        self.trace: list[str] = []
        self.loop = cast(GauntletLoop, asyncio.get_running_loop())
        self.clock = LoopClock(self.loop.time)
        self.now = self.clock.now
        self.rules_of_life = RulesOfLife.drawn(self.rng)
        self.sandbox = Sandbox(self.rules_of_life.sandbox, clock=self.now)
        self.witness = Witness()
        self.witness.watch(self.sandbox, self.now)
        self.condition = Condition(self.now)
        self.sessions: list[Session] = []
        self.all_sessions = 0
        self.callers: set[asyncio.Task[Any]] = set()
        self.waiting: list[Call] = []
        self.suspended_at = float("-inf")
        self.suspended_for = 0.0
        self.closing: set[asyncio.Task[Any]] = set()
        self.vault_lies = False
        self.vault_is_down = False
        self.vault_healthy_since = float("-inf")
        self.stepped_at = float("-inf")
        self.stepped_back_until = float("-inf")
        self.key_changed_at = float("-inf")
        self.paused = False
        self.judge = Judge(self)
        self._shared = self._new_store(0)

    # Credentials

    def right_credentials(self) -> Credentials:
        """A copy: what the sandbox accepts may change under its sessions."""
        return attrs.evolve(self.sandbox.credentials)

    def change_key(self) -> None:
        """The API key is regenerated: tokens end, and only a vault knows the new one."""
        new = f"{self.rng.getrandbits(32):08x}-0000-4000-8000-{self.rng.getrandbits(48):012x}"
        object.__setattr__(self.sandbox.credentials, "api_key", Secret(new))
        self.watch.known.add(new)
        self.key_changed_at = self.now()
        self.sandbox.revoke_all()

    async def vault(self) -> Credentials:
        await asyncio.sleep(0.1)
        if self.vault_is_down:
            raise OSError(111, "the vault is down")
        credentials = self.right_credentials()
        return attrs.evolve(credentials, api_key=self.wrong_key()) if self.vault_lies else credentials

    def wrong_key(self) -> str:
        wrong = "00000000-0000-4000-8000-000000000000"
        self.watch.known.add(wrong)
        return wrong

    # Sessions

    def _new_store(self, number: int) -> TokenStore:
        inner: TokenStore
        inner = FileStore(self.place / f"{self.seed}-{number}.json") if self.rules_of_life.file else MemoryStore()
        return FickleStore(inner, self.condition)

    async def open_session(self) -> Session:
        self.all_sessions += 1
        number = self.all_sessions
        shared = self.rules_of_life.shared
        session = Session(self, number, 0 if shared else number, self._shared if shared else self._new_store(number))
        await session.vbc.__aenter__()
        self.sessions.append(session)
        return session

    async def close_session(self, session: Session) -> None:
        session.closed = True
        self.sessions.remove(session)
        await session.vbc.close()

    # Calls

    def call(self, session: Session, kind: str) -> asyncio.Task[Call]:
        """A caller, in a task of its own."""
        call = Call(session.number, kind, self.now(), self.loop.time())
        task = asyncio.create_task(self._call(session, call))
        self.callers.add(task)
        task.add_done_callback(self.callers.discard)
        return task

    async def _call(self, session: Session, call: Call) -> Call:
        self.count(f"call {call.kind}")
        self.waiting.append(call)
        try:
            await self._ask(session, call)
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        except Exception as error:  # judged below
            call.error = error
        finally:
            self.waiting.remove(call)
            self.witness.read_log(self.sandbox)
            if not call.cancelled:
                self.judge.has_ended(session, call)
        return call

    async def _ask(self, session: Session, call: Call) -> None:
        vbc = session.vbc
        if call.kind == "token":
            call.token = await vbc.token()
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

    def decided_at(self, call: Call) -> float:
        """When the outcome of a call that ends now was decided: a machine may fall asleep before the caller is told."""
        asleep_meanwhile = self.loop.time() == self.suspended_at and call.began_loop <= self.suspended_at
        return self.now() - self.suspended_for if asleep_meanwhile else self.now()

    # The end

    async def end(self) -> None:
        """Close everything; or, now and then, leave the sessions open to the end of the loop."""
        if self.paused:
            await self.sandbox.resume_listening()
        await self.sandbox.drop_connections()
        for task in list(self.callers):
            task.cancel()
        await asyncio.gather(*self.callers, *self.closing, return_exceptions=True)
        if self.rng.random() < 0.3:
            self.count("loop ended with sessions open")
            return
        for session in list(self.sessions):
            await self.close_session(session)
        self.judge.all_closed()

    def run(self, task: Coroutine[Any, Any, Any]) -> None:
        """In the background; waited for at the end."""
        it = asyncio.create_task(task)
        self.closing.add(it)
        it.add_done_callback(self.closing.discard)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
