"""What must hold whatever happens. Judged from what the witness saw, not from what the library says of itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from truecaller_vbc import SessionClosedError, TokenError, TokenPolicy, VBCError
from truecaller_vbc.errors import CredentialsRejectedError, MintQuotaExhaustedError
from truecaller_vbc.sandbox.tokens import fingerprint

from .expected_failures import LONGEST_CALL, Case, justified, knows
from .recorder import Attempt

if TYPE_CHECKING:
    from .simulation import Call, Session, World

POLICY: Final = TokenPolicy()
WINDOW: Final = POLICY.mint_window.total_seconds()
LIFETIME: Final = POLICY.lifetime.total_seconds()
LEASE: Final = POLICY.lease.total_seconds()
SOFT: Final = (POLICY.lifetime - POLICY.refresh_ahead - POLICY.refresh_jitter).total_seconds()
TIMEOUT: Final = POLICY.mint_timeout.total_seconds()
INSTANT: Final = 0.001
"""Times that went through a document, as seconds since 1970, lost digits there."""
LEAST_REFRESH_WAIT: Final = 0.8 * POLICY.refresh_retry.total_seconds()
ACCESS: Final = 1.3 * WINDOW
MOST_DOCUMENT: Final = 32_768


class Violation(AssertionError):  # noqa: N818 - what it is called everywhere
    """An invariant does not hold.

    Attributes:
        invariant: its name.
    """

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Judge:
    """Looks at everything that a world does.

    What it finds inside of the library's calls is kept until the step is over: raised there, it would be caught.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._found: list[Violation] = []

    def _finds(self, invariant: str, what: str) -> None:
        self._found.append(Violation(invariant, f"{what} (at {self._world.now():.3f})"))

    # Mints

    def about_to_mint(self, attempt: Attempt) -> None:
        """The quota, its reserve, and one mint for one need: judged before the POST."""
        self._world.witness.read_log(self._world.sandbox)
        self._judge_quota(attempt)
        self._judge_need(attempt)
        self._judge_pace(attempt)

    def _judge_quota(self, attempt: Attempt) -> None:
        spent = sum(
            other.counts and other.sent + WINDOW > attempt.sent + INSTANT
            for other in self._world.witness.attempts
            if knows(self._world, attempt.actor, attempt.group, other)
        )
        if spent >= POLICY.max_mints:
            self._finds("quota", f"session {attempt.actor} asks for one more token with {spent} spent in the window")
        elif attempt.ahead and spent >= POLICY.max_mints - POLICY.reserve_mints:
            self._finds("quota", f"session {attempt.actor} refreshes out of the reserve, with {spent} spent")

    def _judge_need(self, attempt: Attempt) -> None:
        """A token that the sender must know of is good reason not to buy another."""
        witness = self._world.witness
        for other in reversed(witness.attempts):
            if other.value is None or not knows(self._world, attempt.actor, attempt.group, other):
                continue
            made = witness.minted_at(other.value)
            # Of one handed out again, the age that the server tells includes the way of its answer.
            slack = TIMEOUT if made is not None and made < other.sent else INSTANT
            young = made is not None and attempt.sent - min(made, other.sent) < SOFT - slack
            if young and fingerprint(other.value) not in witness.dead:
                self._finds(
                    "one mint for one need",
                    f"session {attempt.actor} mints {attempt.sent - other.sent:.1f} s after session {other.actor} did",
                )
            return

    def _judge_pace(self, attempt: Attempt) -> None:
        """The background's failed refreshes keep their distance."""
        mine = [other for other in self._world.witness.attempts if other.actor == attempt.actor]
        if not attempt.ahead or not mine or not mine[-1].ahead or mine[-1].error is None:
            return
        if mine[-1].error is CredentialsRejectedError:
            return  # a vault is asked once more, at once
        if attempt.sent - mine[-1].ended < LEAST_REFRESH_WAIT:
            self._finds("one mint for one need", f"session {attempt.actor} tries a failed refresh again at once")

    def has_minted(self, attempt: Attempt) -> None:
        """The server must not refuse for quota what the ledger thought free, unless it cannot have known."""
        witness = self._world.witness
        if not any(attempt.sent <= at <= attempt.ended for at in witness.refusals):
            return
        recent = [
            other for other in witness.attempts if other.sent > attempt.sent - WINDOW - LEASE and other is not attempt
        ]
        explained = self._world.rules_of_life.sandbox.count_failed or any(
            other.outcome == "unknown" or not knows(self._world, attempt.actor, attempt.group, other)
            for other in recent
        )
        if not explained:
            self._finds("quota", f"the server refused session {attempt.actor}, whose ledger thought a mint free")

    # Callers

    def has_ended(self, session: Session, call: Call) -> None:
        """What a caller got: a good token, or an error of a known kind and with a reason."""
        error = call.error
        if error is None:
            self._judge_life(session, call)
            return
        if isinstance(error, VBCError):
            self._world.watch.read_error(error)
        from .simulation import EXPECTED  # noqa: PLC0415

        if isinstance(error, SessionClosedError):
            if not session.closed:
                self._finds("typed errors", f"session {session.number} is open and says {error}")
        elif isinstance(error, TokenError):
            self._judge_want(session, call, error)
        elif isinstance(error, VBCError) or not isinstance(error, EXPECTED):
            self._finds("typed errors", f"a {call.kind} raised {error!r}")

    def _judge_want(self, session: Session, call: Call, error: TokenError) -> None:
        what = f"a {call.kind} of session {session.number} failed with {type(error).__name__}"
        if error.retry_at is None:
            self._finds("typed errors", f"{what} without retry_at")
        if call.kind == "token" and session.usable() is not None:
            self._finds("no call lacks a token", f"{what} while there is a usable token")
        elif not justified(Case(self._world, session.group, call.began, self._world.decided_at(call)), error):
            self._finds("no call lacks a token", f"{what} for no reason: {error}")

    def _judge_life(self, session: Session, call: Call) -> None:
        world = self._world
        if call.token is None or world.loop.time() - world.suspended_at < 1.0:
            return
        rules = world.rules_of_life.sandbox
        ages_are_told = not rules.reuse_token or (rules.date_header and rules.created_at == "iso")
        made = world.witness.minted_at(call.token.value)
        if ages_are_told and made is not None and world.stepped_at < made and world.now() >= made + LIFETIME:
            self._finds(
                "no ended token", f"session {session.number} handed out a token made {world.now() - made:.1f} s ago"
            )

    # After every step

    def after_step(self) -> None:
        """Secrets, tasks, sizes, and what was found meanwhile.

        Raises:
            Violation: the first one.
        """
        world = self._world
        world.witness.read_log(world.sandbox)
        for session in world.sessions:
            status = session.vbc.status()
            for shown in (status, session.vbc, session.vbc.ledger(), session.vbc.current_token, status.last_error):
                world.watch.read(repr(shown), f"the repr of a {type(shown).__name__}")
            self._judge_sizes(session)
        self._judge_tasks()
        self._judge_what_was_said()
        self.raise_first()

    def _judge_sizes(self, session: Session) -> None:
        holder = session.vbc._holder
        if holder._waiters and holder._attempt is None:
            self._finds("nothing grows", f"session {session.number} keeps {len(holder._waiters)} waiters")
        size = len(repr(holder.state.ledger))
        if size > MOST_DOCUMENT:
            self._finds("nothing grows", f"the ledger of session {session.number} takes {size} characters")

    def _judge_tasks(self) -> None:
        world = self._world
        ours = sum(task.get_name().startswith("truecaller_vbc") for task in asyncio.all_tasks())
        if ours > 2 * (len(world.sessions) + len(world.closing)):
            self._finds("nothing grows", f"{ours} tasks of {len(world.sessions)} sessions")
        for call in world.waiting:
            if world.loop.time() - call.began_loop > LONGEST_CALL:
                self._finds("no call lacks a token", f"a {call.kind} of session {call.session} never ends")

    def _judge_what_was_said(self) -> None:
        world = self._world
        for where in world.watch.found:
            self._finds("no secret is told", where)
        for text in world.watch.errors:
            self._finds("typed errors", f"logged as a bug: {text}")
        for trouble in world.loop.troubles:
            self._finds("typed errors", f"left to the loop: {trouble}")

    def raise_first(self) -> None:
        """Raise what was found, if anything was."""
        if self._found:
            raise self._found[0]

    # At the end

    async def recovered(self) -> None:
        """Everything is mended: tokens come when they are said to, and the API takes them.

        Raises:
            Violation: it does not recover.
        """
        world = self._world
        until = world.now() + (3 if self._strangers() else 2) * WINDOW + 2 * LEASE
        for session in list(world.sessions):
            await self._has_token(session, until)
        if self._strangers() and world.rules_of_life.sandbox.revoke_previous:
            return  # each one's token ends the other's, for ever
        world.sandbox.revoke_all()
        for session in list(world.sessions):
            await self._has_access(session)

    def _strangers(self) -> bool:
        """Whether sessions share an account and no store."""
        return not self._world.rules_of_life.shared and self._world.all_sessions > 1

    async def _has_token(self, session: Session, until: float) -> None:
        world = self._world
        while True:
            call = await world.call(session, "token")
            self.after_step()
            if call.error is None:
                return
            if world.now() > until:
                raise Violation(
                    "recovery", f"session {session.number} has no token long after all faults: {call.error!r}"
                )
            assert isinstance(call.error, TokenError)
            assert call.error.retry_at is not None
            wait = call.error.retry_at.timestamp() - world.clock.wall()
            await asyncio.sleep(min(max(wait, 1.0), 60.0))

    async def _has_access(self, session: Session) -> None:
        """Sooner than a refresh would bring another token by itself; later only where the quota is spent."""
        world = self._world
        until = world.now() + ACCESS
        while True:
            call = await world.call(session, "get")
            self.after_step()
            if call.status == 200:
                return
            if isinstance(call.error, MintQuotaExhaustedError):
                until = world.now() + ACCESS
            if world.now() > until:
                raise Violation("recovery", f"session {session.number} has no access in the end: {call.result}")
            await asyncio.sleep(60)

    def all_closed(self) -> None:
        """Every session is closed.

        Raises:
            Violation: something of them is left.
        """
        left = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("truecaller_vbc")]
        if left:
            self._finds("nothing grows", f"tasks are left of closed sessions: {left}")
        self._judge_what_was_said()
        self.raise_first()
