"""Check the invariants of a simulation against what the recorder saw, not against what the library reports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from truecaller_vbc import AccessToken, SessionClosedError, TokenError, TokenPolicy, VBCError
from truecaller_vbc.errors import CredentialsRejectedError, MintQuotaExhaustedError
from truecaller_vbc.sandbox.tokens import fingerprint

from .expected_failures import INSTANT, LONGEST_CALL, USABLE, Case, is_expected, knows_of
from .kept_mints import KeptMints
from .pool_invariants import PoolChecker
from .recorder import Attempt

if TYPE_CHECKING:
    from .simulated_session import Call, Session
    from .simulation import Simulation

POLICY: Final = TokenPolicy()
WINDOW: Final = POLICY.mint_window.total_seconds()
LIFETIME: Final = POLICY.lifetime.total_seconds()
LEASE: Final = POLICY.lease.total_seconds()
REFRESH_AFTER: Final = (POLICY.lifetime - POLICY.refresh_ahead - POLICY.refresh_jitter).total_seconds()
TIMEOUT: Final = POLICY.mint_timeout.total_seconds()
LEAST_REFRESH_WAIT: Final = 0.8 * POLICY.refresh_retry.total_seconds()
RECOVERY_TIME: Final = 1.3 * WINDOW
MOST_DOCUMENT: Final = 32_768


class Violation(AssertionError):  # noqa: N818 - what it is called everywhere
    """An invariant that does not hold.

    Attributes:
        invariant: its name.
    """

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Checker:
    """Check all that happens in a simulation.

    Violations found inside calls of the library are kept until the step ends, since the library would catch them.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._found: list[Violation] = []
        self._kept = KeptMints(simulation)
        self._excused: set[tuple[int, str | None]] = set()
        self.pools = PoolChecker(simulation, self._add)

    def _add(self, invariant: str, what: str) -> None:
        self._found.append(Violation(invariant, f"{what} (at {self._simulation.now():.3f})"))

    # Mints

    def before_mint(self, session: Session, attempt: Attempt) -> None:
        """Check quota, reserve and need before the POST is sent."""
        self._simulation.recorder.read_log(self._simulation.sandbox)
        self._check_quota(attempt)
        if attempt.growing:
            self.pools.before_growth(session, attempt)
        else:
            self._check_need(session, attempt)
        self._check_pace(attempt)
        self._check_lease(attempt)

    def _check_lease(self, attempt: Attempt) -> None:
        """Check that the sender's lease has not ended; without a store that has worked since, it needs none."""
        granted = self._simulation.granted.get(attempt.actor)
        if granted is None or granted <= self._simulation.condition.healthy_since:
            return
        if granted + LEASE < attempt.sent:
            late = attempt.sent - granted - LEASE
            self._add("one mint for one need", f"session {attempt.actor} mints {late:.1f} s after the end of its lease")

    def _check_quota(self, attempt: Attempt) -> None:
        spent = sum(
            other.counts and other.sent + WINDOW > attempt.sent + INSTANT
            for other in self._simulation.recorder.attempts
            if self._counts_for(attempt, other)
        )
        if spent >= POLICY.max_mints:
            self._add("quota", f"session {attempt.actor} asks for one more token with {spent} spent in the window")
        elif (attempt.ahead or attempt.growing) and spent >= POLICY.max_mints - POLICY.reserve_mints:
            self._add("quota", f"session {attempt.actor} refreshes out of the reserve, with {spent} spent")

    def _counts_for(self, attempt: Attempt, other: Attempt) -> bool:
        """Return whether the sender must count an attempt.

        Without a common clock, mints of a machine that is behind do not count for others, as the docs say; those of
        others that take the same time for that of the document do.
        """
        agree = self._simulation.settings.agree_on_time
        has_its_time = agree or other.actor == attempt.actor or self._share_time(attempt, other)
        return has_its_time and knows_of(self._simulation, attempt.actor, attempt.group, other)

    def _share_time(self, attempt: Attempt, other: Attempt) -> bool:
        """Return whether two senders took the same time for that of the document, and the others between them, too.

        Where wall clocks have been set by about a day, some drop the times of others, as the docs say.
        """
        return attempt.has_time_of(other) and not self._simulation.site.stepped_a_day

    def _check_need(self, session: Session, attempt: Attempt) -> None:
        """Check that the sender does not know of a token that is young and not rejected."""
        recorder = self._simulation.recorder
        newest = session.newest if self._simulation.pools.tokens > 1 else None
        for other in reversed(recorder.attempts):
            if other.value is None or not knows_of(self._simulation, attempt.actor, attempt.group, other):
                continue
            made = recorder.minted_at(other.value)
            answered_with_it = [a for a in recorder.attempts if a.value == other.value]
            if made is not None:
                # A token counts from the sending of its request, which a frozen process makes long before.
                made = min(made, *(a.sent for a in answered_with_it), attempt.sent)
            # The age of a repeated token, whose first answer may be lost, includes the time that its answer took.
            took = max(TIMEOUT, other.ended - other.sent)
            is_repeated = len(answered_with_it) > 1 or (made is not None and made < other.sent)
            slack = took if is_repeated else INSTANT
            slack += self._simulation.settings.clock_error
            if self._simulation.freezer.another_thawed(other.actor, other.sent, other.ended):
                return  # what that process wrote meanwhile stays, if it is of the same generation
            if newest in recorder.dead and newest != fingerprint(other.value):
                return  # an older token of a pool takes no place of the newest
            young = made is not None and attempt.sent - min(made, other.sent) < REFRESH_AFTER - slack
            if young and fingerprint(other.value) not in recorder.dead and not self._clocks_excuse(attempt, other):
                self._add(
                    "one mint for one need",
                    f"session {attempt.actor} mints {attempt.sent - other.sent:.1f} s after session {other.actor} did",
                )
            return

    def _clocks_excuse(self, attempt: Attempt, other: Attempt) -> bool:
        """Return whether the other's token may look stale since the two have no common clock.

        A process that is ahead moves the time of the document. Each other machine that reads it later takes the last
        write for now, and so is behind once: that costs a mint for each machine and each process that comes. A server
        that returns the same token again does not mend what the process believes of its age.
        """
        simulation = self._simulation
        maker = next(a for a in simulation.recorder.attempts if a.value == other.value)
        if simulation.settings.agree_on_time or maker.actor == attempt.actor or self._share_time(attempt, maker):
            return False
        self._excused.add((attempt.actor, other.value))
        return len(self._excused) <= len(simulation.site.machines) * simulation.site.processes

    def _check_pace(self, attempt: Attempt) -> None:
        """Check that failed background refreshes, and failed growths, keep their distance."""
        last = self._last_of_its_kind(attempt)
        if not attempt.ahead or last is None or not last.ahead or last.error is None:
            return
        if last.error is CredentialsRejectedError:
            return  # credentials from a callable are tried again at once
        if last.error is MintQuotaExhaustedError and self._simulation.settings.vault:
            return  # other credentials may have another quota
        # It has failed when its callers stop waiting, although the request goes on.
        if attempt.sent - min(last.ended, last.overdue) < LEAST_REFRESH_WAIT:
            self._add("one mint for one need", f"session {attempt.actor} tries a failed refresh again at once")

    def _last_of_its_kind(self, attempt: Attempt) -> Attempt | None:
        """Return the sender's last attempt for the same purpose, or any success since."""
        for other in reversed(self._simulation.recorder.attempts):
            if other.actor == attempt.actor and (other.growing == attempt.growing or other.value is not None):
                return other
        return None

    def after_mint(self, session: Session, attempt: Attempt) -> None:
        """Check that the answer was waited for, and that a refusal for the quota could not be known before."""
        if (lost := self._kept.ended(session, attempt)) is not None:
            self._add("no mint is lost", lost)
        if attempt.growing:
            self.pools.after_growth(attempt)
        recorder = self._simulation.recorder
        if not any(attempt.sent <= at <= attempt.ended for at in recorder.refusals):
            return
        since = attempt.sent - WINDOW - LEASE
        for at, seconds in reversed(self._simulation.site.suspensions):
            # The sandbox sleeps with the machine, so it may count a request that much later.
            since -= seconds if at + seconds > since else 0.0
        recent = [other for other in recorder.attempts if other.sent > since and other is not attempt]
        explained = self._simulation.settings.sandbox.count_failed or any(
            other.outcome == "unknown" or not self._counts_for(attempt, other) for other in recent
        )
        if not explained:
            self._add("quota", f"the server refused session {attempt.actor}, whose ledger thought a mint free")

    # Callers

    def after_call(self, session: Session, call: Call) -> None:
        """Check that a caller got a usable token, or a documented error that has a cause."""
        error = call.error
        if error is None:
            self._check_token_age(session, call)
            return
        if isinstance(error, VBCError):
            self._simulation.scanner.scan_error(error)
        from .simulation import DOCUMENTED_ERRORS  # noqa: PLC0415

        if isinstance(error, SessionClosedError):
            if not session.closed:
                self._add("typed errors", f"session {session.number} is open and says {error}")
        elif isinstance(error, TokenError):
            self._check_token_error(session, call, error)
        elif isinstance(error, RuntimeError) and session.closed:
            return  # aiohttp's error for a body that is read after the session was closed
        elif isinstance(error, VBCError) or not isinstance(error, DOCUMENTED_ERRORS):
            self._add("typed errors", f"a {call.kind} raised {error!r}")

    def _check_token_error(self, session: Session, call: Call, error: TokenError) -> None:
        what = f"a {call.kind} of session {session.number} failed with {type(error).__name__}"
        if error.retry_at is None:
            self._add("typed errors", f"{what} without retry_at")
        if call.kind == "token" and session.usable() is not None:
            self._add("no call lacks a token", f"{what} while there is a usable token")
            return
        began = self._simulation.freezer.began(call)
        cases = [
            Case(self._simulation, session.number, session.group, began, decided)
            for decided in self._simulation.decided_at(call)
        ]
        if not any(is_expected(case, error) for case in cases):
            self._add("no call lacks a token", f"{what} for no reason: {error}")

    def _check_token_age(self, session: Session, call: Call) -> None:
        simulation = self._simulation
        stood_still = max(simulation.site.suspended_at, simulation.freezer.last_frozen(session.number))
        if call.token is None or simulation.loop.time() - stood_still < 1.0:
            return  # the fast path of readers reads no clock for up to a second
        self.check_age(session, call.token)

    def check_age(self, session: Session, token: AccessToken) -> None:
        """Check that a token that is handed out has not ended."""
        simulation, rules = self._simulation, self._simulation.settings.sandbox
        if not simulation.settings.agree_on_time and token.value not in self._own_tokens(session):
            return  # who has no common clock and reads late takes the last write for now; the API then rejects it
        ages_are_told = not rules.reuse_token or (rules.date_header and rules.created_at == "iso")
        made = simulation.recorder.minted_at(token.value)
        if made is not None:
            # A server that returns a token after its end has a wrong clock, by the rules: that age is ignored.
            sent = [a.sent for a in simulation.recorder.attempts if a.value == token.value]
            made = max([made, *(at for at in sent if at - made >= USABLE - INSTANT)])
        if (
            ages_are_told
            and made is not None
            and max(simulation.site.stepped_at, simulation.site.poisoned_at) < made
            and simulation.now() >= made + LIFETIME
        ):
            self._add(
                "no expired token",
                f"session {session.number} handed out a token made {simulation.now() - made:.1f} s ago",
            )

    def _own_tokens(self, session: Session) -> set[str | None]:
        return {attempt.value for attempt in self._simulation.recorder.attempts if attempt.actor == session.number}

    # After every step

    def after_step(self) -> None:
        """Check secrets, tasks and sizes, and raise what was found during the step.

        Raises:
            Violation: the first one found.
        """
        simulation = self._simulation
        simulation.recorder.read_log(simulation.sandbox)
        for session in simulation.sessions:
            status = session.vbc.status()
            for shown in (status, session.vbc, session.vbc.ledger(), session.vbc.current_token, status.last_error):
                simulation.scanner.scan(repr(shown), f"the repr of a {type(shown).__name__}")
            self._check_sizes(session)
        self.pools.after_step()
        for lost in self._kept.lost():
            self._add("no mint is lost", lost)
        self._check_tasks()
        self._check_apart()
        self._check_output()
        self.raise_first()

    def _check_sizes(self, session: Session) -> None:
        holder = session.vbc._holder
        if holder._waiters and holder._attempt is None:
            self._add("nothing grows", f"session {session.number} keeps {len(holder._waiters)} waiters")
        size = len(repr(holder.state.ledger))
        if size > MOST_DOCUMENT:
            self._add("nothing grows", f"the ledger of session {session.number} takes {size} characters")

    def _check_tasks(self) -> None:
        simulation = self._simulation
        ours = sum(task.get_name().startswith("truecaller_vbc") for task in asyncio.all_tasks())
        accounts = simulation.site.accounts
        sessions = sum(len(account.sessions) for account in accounts)
        if ours > 2 * (sessions + len(accounts) * sum(len(account.closing) for account in accounts)):
            self._add("nothing grows", f"{ours} tasks of {sessions} sessions")
        for call in simulation.waiting:
            frozen = simulation.freezer.last_frozen(call.session)
            if simulation.loop.time() - max(call.began_loop, frozen) > LONGEST_CALL:
                self._add("no call lacks a token", f"a {call.kind} of session {call.session} never ends")

    def _check_apart(self) -> None:
        """Check that no token is sent for another account."""
        simulation = self._simulation
        for other in simulation.site.accounts:
            theirs = {fingerprint(mint.value) for mint in other.recorder.mints}
            if other is not simulation and theirs & simulation.recorder.dead:
                self._add("accounts are apart", f"account {simulation.number} got a token of account {other.number}")

    def _check_output(self) -> None:
        simulation = self._simulation
        for where in simulation.scanner.found:
            self._add("no secret is shown", where)
        for text in simulation.scanner.errors:
            if "the token store is down as this process starts" in text:
                continue  # a fault of the store, which is said at ERROR
            self._add("typed errors", f"logged as a bug: {text}")
        for trouble in simulation.loop.unhandled:
            self._add("typed errors", f"left to the loop: {trouble}")

    def raise_first(self) -> None:
        """Raise the first violation that was found, if any."""
        if self._found:
            raise self._found[0]

    def child_did(self, wrong: str) -> None:
        """Report what a forked process did with the sessions of its parent."""
        self._add("a child leaves its parent alone", wrong)

    # At the end

    async def check_recovery(self) -> None:
        """Check that after the end of all faults every session gets a token that the API accepts.

        Raises:
            Violation: a session does not recover.
        """
        simulation = self._simulation
        until = simulation.now() + (3 if self._share_only_the_account() else 2) * WINDOW + 2 * LEASE
        for session in list(simulation.sessions):
            await self._has_token(session, until)
        if self._share_only_the_account() and simulation.settings.sandbox.revoke_previous:
            return  # each new token revokes the token of the other session, without end
        await self._grow()
        for _ in range(1 if simulation.pools.tokens == 1 else 2):  # again: older tokens may be left of the first time
            simulation.revoke_all()
            for session in list(simulation.sessions):
                await self._has_access(session)

    async def _grow(self) -> None:
        """Let pools grow, with the requests that prove that tokens live together."""
        simulation = self._simulation
        pools = [session for session in simulation.sessions if session.pool is not None]
        for session in 2 * pools:
            simulation.in_process(session, session.vbc._holder.grow)
            await asyncio.sleep(60)
            for _ in range(3):
                await simulation.call(session, "older")
        self.after_step()

    def _share_only_the_account(self) -> bool:
        """Return whether several sessions share the account but not a store."""
        return not self._simulation.settings.shared and self._simulation.site.processes > 1

    async def _has_token(self, session: Session, until: float) -> None:
        simulation = self._simulation
        while True:
            call = await simulation.call(session, "token")
            self.after_step()
            if call.error is None:
                return
            if simulation.now() > until:
                raise Violation(
                    "recovery", f"session {session.number} has no token long after all faults: {call.error!r}"
                )
            assert isinstance(call.error, TokenError)
            assert call.error.retry_at is not None
            wait = call.error.retry_at.timestamp() - simulation.clock.wall()
            # Not every second, if the wait that is stated has ended long ago: that would be thousands of calls.
            await asyncio.sleep(wait if 1.0 <= wait <= 60.0 else 60.0)

    async def _has_access(self, session: Session) -> None:
        """Check access earlier than a planned refresh would restore it, unless the quota is used up."""
        simulation = self._simulation
        until = simulation.now() + RECOVERY_TIME
        while True:
            call = await simulation.call(session, "get" if session.pool is None else "older")
            self.after_step()
            if call.status == 200:
                return
            if isinstance(call.error, MintQuotaExhaustedError):
                until = simulation.now() + RECOVERY_TIME
            if simulation.now() > until:
                raise Violation("recovery", f"session {session.number} has no access in the end: {call.result}")
            await asyncio.sleep(60)

    def check_closed(self) -> None:
        """Check that closed sessions left nothing behind.

        Raises:
            Violation: tasks or errors are left.
        """
        left = [t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("truecaller_vbc")]
        if left:
            self._add("nothing grows", f"tasks are left of closed sessions: {left}")
        self._check_output()
        self.raise_first()
