"""Simulate one account, its sandbox and the sessions that share it, in virtual time on one loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiohttp
import attrs

from truecaller_vbc import AccessToken, Credentials, FileStore, MemoryStore, TokenPolicy, VBCError, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.secret import Secret
from truecaller_vbc.stores import TokenStore
from truecaller_vbc.token.endpoint import Answer
from truecaller_vbc.token.events import PoolEnded, TokenEvent

from ..token.virtual_time import EPOCH, LoopClock
from .expected_failures import INSTANT, LEASE, TIMEOUT, WINDOW
from .faulty_store import ClockedStore, FaultyStore, StoreCondition, documents_in
from .freezer import Freezer
from .invariants import Checker
from .pooled_session import PooledSession
from .recorder import NEVER, Attempt, Recorder, RecordingEndpoint, is_growing
from .secret_scanner import SecretScanner
from .simulation_loop import SimulationLoop

T = TypeVar("T")
POLICY: Final = TokenPolicy()
VAULT_TIME: Final = 0.1
DOCUMENTED_ERRORS: Final = (VBCError, aiohttp.ClientError, TimeoutError)
"""Errors that a caller may get. Any other type is a bug."""


@attrs.define(eq=False)
class Call:
    """One call and its result."""

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


class Machine:
    """The clock of one machine, whose wall clock is off by so many seconds."""

    def __init__(self, right: LoopClock, off: float) -> None:
        self._right = right
        self.off = off
        self.now = right.now

    def wall(self) -> float:
        return self._right.wall() + self.off


class Session:
    """A `VBCSession` and what the simulation knows of it."""

    def __init__(self, simulation: Simulation, number: int, group: int, store: FaultyStore) -> None:
        self.simulation = simulation
        self.number = number
        self.group = group
        self.opened = simulation.now()
        self.opened_loop = simulation.loop.time()
        self.tokens = simulation.pools.size_for_next()
        self.machine = simulation.rng.choice(simulation.machines)
        self.closed = False
        self.store = store
        self.events: list[TokenEvent] = []
        self.vbc = VBCSession(
            simulation.vault if simulation.settings.vault else simulation.right_credentials(),
            base_url=simulation.sandbox.base_url,
            store=store,
            policy=attrs.evolve(POLICY, tokens=self.tokens),
            clock=self.machine,
            on_event=self._on_event,
        )
        minter = self.vbc._holder._minter
        minter._endpoint = cast(Any, RecordingEndpoint(minter._endpoint, self))
        self.pool: PooledSession | None = None

    async def open(self) -> None:
        await self.vbc.open()
        if self.tokens > 1:
            self.pool = PooledSession(self)

    async def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
        await self.vbc.close()

    def _on_event(self, event: TokenEvent) -> None:
        self.simulation.scanner.scan(repr(event), "the repr of an event")
        self.simulation.count(f"event {type(event).__name__}")
        if isinstance(event, PoolEnded):
            self.simulation.checker.pools.ended(self, event.fingerprint)

    def usable(self) -> AccessToken | None:
        """Return the token that the session could return now, without using the session."""
        current = self.vbc._holder.state.usable(self.simulation.now())
        return current.token if current is not None else None

    def live(self) -> list[AccessToken]:
        """Return the tokens that the session could return now, without using the session."""
        return self.vbc._holder.state.live(self.simulation.now())

    def current_value(self) -> str | None:
        """Return the current token, ended or not."""
        current = self.vbc._holder.state.current
        return current.token.value if current is not None else None

    # The wire

    def mint_started(self) -> Attempt:
        recorder = self.simulation.recorder
        recorder.read_log(self.simulation.sandbox)
        # A token that the API has rejected is no token to refresh ahead of.
        ahead = (token := self.usable()) is not None and token.fingerprint not in recorder.dead
        attempt = Attempt(self.number, self.group, self.simulation.now(), ahead=ahead, growing=is_growing())
        attempt.shift = self.vbc._holder._minter._exchange._clock.shift
        self.simulation.checker.before_mint(self, attempt)
        self.simulation.recorder.attempts.append(attempt)
        self.simulation.loop.call_later(TIMEOUT, self._overdue, attempt)
        return attempt

    def _overdue(self, attempt: Attempt) -> None:
        if attempt.ended == NEVER:
            attempt.overdue = self.simulation.now()

    def mint_ended(self, attempt: Attempt, answer: Answer) -> None:
        attempt.ended, attempt.answer = self.simulation.now(), answer
        if answer.result:
            self.simulation.scanner.known.add(str(answer.result.value))
        self.simulation.checker.after_mint(self, attempt)


@attrs.frozen
class Settings:
    """What does not change during a simulation.

    Args:
        sandbox: rules of the server.
        shared: whether the sessions share one store.
        file: whether stores are files.
        vault: whether credentials come from a callable.
        most_sessions: maximum number of open sessions.
        clocks_apart: whether each machine's wall clock is off by up to an hour.
        store_clock: whether the store has a clock of its own, which is right.
    """

    sandbox: SandboxRules
    shared: bool
    file: bool
    vault: bool
    most_sessions: int
    clocks_apart: bool
    store_clock: bool

    @property
    def agree_on_time(self) -> bool:
        """Whether sessions that share a store know the same time, so that each counts what the others did."""
        return self.store_clock or not self.clocks_apart

    @property
    def clock_error(self) -> float:
        """How far a session may be wrong about the times of others: clocks that differ by a minute are not doubted."""
        return 0.0 if self.agree_on_time else 60.0

    @classmethod
    def drawn(cls, rng: random.Random) -> Settings:
        """Draw every switch of the sandbox at random, the documented value most often."""

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
        return cls(
            rules,
            shared=rng.random() < 0.7,
            file=rng.random() < 0.3,
            vault=rng.random() < 0.4,
            most_sessions=rng.choice((1, 1, 2, 3, 5)),
            clocks_apart=rng.random() < 0.4,
            store_clock=rng.random() < 0.4,
        )


@attrs.frozen
class Pools:
    """How many tokens the sessions of a simulation may have.

    Args:
        rng: of its own, so that simulations of one token go on as they did.
        tokens: number for most sessions; 1 in most simulations.
    """

    rng: random.Random
    tokens: int

    @classmethod
    def drawn(cls, seed: int) -> Pools:
        rng = random.Random(f"pools of {seed}")
        return cls(rng, rng.choices((1, 2, 3, 5), (6, 1, 2, 1))[0])

    def size_for_next(self) -> int:
        """Return the number for the next session: some processes of a fleet have one token only."""
        return self.tokens if self.tokens == 1 or self.rng.random() < 0.85 else 1


class Simulation:
    """Run steps, and let the checker see everything that happens.

    Args:
        seed: of all random choices.
        directory: for the files of file stores.
        scanner: scans logs, errors and reprs.
    """

    def __init__(self, seed: int, directory: Path, scanner: SecretScanner) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        random.seed(seed)
        self.directory = directory
        self.scanner = scanner
        self.counts: dict[str, int] = {}
        self.trace: list[str] = []
        self.loop = cast(SimulationLoop, asyncio.get_running_loop())
        self.clock = LoopClock(self.loop.time)
        self.now = self.clock.now
        self.settings = Settings.drawn(self.rng)
        offsets = [self.rng.uniform(-3600.0, 3600.0) for _ in range(3)] if self.settings.clocks_apart else [0.0]
        self.machines = [Machine(self.clock, off) for off in offsets]
        self.sandbox = Sandbox(self.settings.sandbox, clock=self.now)
        self.recorder = Recorder()
        self.recorder.attach(self.sandbox, self.now)
        self.condition = StoreCondition(self.now)
        self.sessions: list[Session] = []
        self.all_sessions = 0
        self.callers: set[asyncio.Task[Any]] = set()
        self.waiting: list[Call] = []
        self.suspended_at = float("-inf")
        self.suspended_for = 0.0
        self.suspensions: list[tuple[float, float]] = []
        self.closing: set[asyncio.Task[Any]] = set()
        self.vault_gives_wrong_key = False
        self.vault_is_down = False
        self.vault_healthy_since = float("-inf")
        self.stepped_at = float("-inf")
        self.stepped_a_day = False
        self.stepped_back_until = float("-inf")
        self.poisoned_at = float("-inf")
        self.false_times: list[tuple[float, float]] = []
        self.key_changed_at = float("-inf")
        self.paused = False
        self.freezer = Freezer(self)
        self.condition.reached = self.reached
        self.pools = Pools.drawn(seed)
        self.revocations: list[float] = []
        self.granted: dict[int, float] = {}
        self._met: set[tuple[int, str]] = set()
        self.checker = Checker(self)
        self._shared = self._new_store(0)

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

    async def reached(self, point: str) -> None:
        """Note what the running process does next, and freeze it there if that was drawn."""
        met = (self.loop.process, point)
        if point == "read":
            self.recorder.store_read(self.loop.process, self.now())
            if self.settings.shared:
                self.checker.pools.store_read(self.loop.process, documents_in(self._shared))
        if point in ("read", "write") and met not in self._met and not self.settings.agree_on_time:
            # Without a clock in the store, each new process takes its wall clock, or the last write if that is later.
            self._met.add(met)
            self.stepped_at = self.now()
            self.stepped_back_until = max(self.stepped_back_until, self.now())
        if point == "granted":
            self.granted[self.loop.process] = self.now()
        await self.freezer.reached(point)

    def poisoned(self, stamps: Iterable[float]) -> None:
        """Note that a document has false values, of which `stamps` are times in the future.

        A false time is believed for a window at most: from now on, or when it has come that near. An attempt counts
        for another window after it, if the store could not be repaired until then. Without a common
        clock, machines differ by up to two hours about when that is, and a window begins when a process first reads.
        """
        error = 0.0 if self.settings.agree_on_time else 7_200.0 + WINDOW

        self.poisoned_at = self.now()
        self.false_times = [(since, until) for since, until in self.false_times if until > self.now()]
        for stamp in (self.now() + WINDOW, *stamps):
            self.false_times.append((stamp - WINDOW - LEASE - error, stamp + WINDOW + LEASE + error))

    # Sessions

    def _new_store(self, number: int) -> FaultyStore:
        inner: TokenStore
        inner = FileStore(self.directory / f"{self.seed}-{number}.json") if self.settings.file else MemoryStore()
        if self.settings.store_clock:
            return ClockedStore(inner, self.condition, lambda: EPOCH + self.now())
        return FaultyStore(inner, self.condition)

    async def open_session(self) -> Session:
        self.all_sessions += 1
        number = self.all_sessions
        shared = self.settings.shared
        session = Session(self, number, 0 if shared else number, self._shared if shared else self._new_store(number))
        await self._start(session, session.open())
        self.sessions.append(session)
        return session

    def _start(self, session: Session, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task in the process of a session."""
        with self.loop.as_process(session.number):
            return asyncio.create_task(coroutine)

    def in_process(self, session: Session, callback: Callable[[], object]) -> None:
        """Call something in the process of a session, now or when that process goes on."""
        with self.loop.as_process(session.number):
            self.loop.call_soon(callback)

    async def close_session(self, session: Session) -> None:
        await self._start(session, self._close(session))

    async def _close(self, session: Session) -> None:
        session.closed = True
        if session in self.sessions:  # it may be replaced twice, if its process is frozen before the first time
            self.sessions.remove(session)
        await session.close()

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
        awake = self.loop.time() - self.suspended_at
        asleep_meanwhile = call.began_loop <= self.suspended_at and awake <= VAULT_TIME + INSTANT
        before = [self.now() - self.suspended_for] if asleep_meanwhile else []
        return [self.now(), *before, *self.freezer.frozen_during(call)]

    # The end

    async def end(self) -> None:
        """Close everything, or sometimes leave the sessions open until the loop ends."""
        self.freezer.thaw_all()
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
        self.checker.check_closed()

    def run_in_background(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start a task that `end` waits for."""
        task = asyncio.create_task(coroutine)
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
