"""Check an input, find or begin its push, send it, and report (``truecaller-vbc calls push``)."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import attrs

from ...api.models import Label
from ...api.policy import APIPolicy
from ...errors import ConfigurationError, VBCError
from ...session import VBCSession
from ..connection import wait_out_failure
from ..failures import ANY_FAILURE, describe, silence_log
from ..output import tolerate_broken_pipe
from .check import Checked, check
from .columns import RecordRules, RowParser
from .interruption import Interruption
from .options import PushOptions
from .outcomes import ask_outcomes
from .pieces import Pieces
from .progress import Bar
from .pusher import Pusher, PushLimits, StoppedError
from .report import Report
from .source import Source, copy_stdin, open_source
from .state import PENDING, PushFacts, PushState, create_state, facts_differ, is_state, open_state, set_aside

_STDIN: Final = "-"
# Each day's calls to the same receivers are a new push.
_OF_THE_DAY: Final = frozenset({"date", "window", "starts_at", "ends_at"})


def push(options: PushOptions, *, api_policy: APIPolicy | None = None, limits: PushLimits | None = None) -> int:
    """Run the push, print the report, and return the exit code.

    Args:
        options: options of the command.
        api_policy: another pace, for tests and benchmarks.
        limits: other waits, for tests and benchmarks.
    """
    silence_log()
    interruption = Interruption()
    try:
        with interruption.handle_signals():
            report = _Push(options, interruption, api_policy, limits or PushLimits()).run()
    except KeyboardInterrupt:
        report = Report(interrupted=True)
    except (VBCError, OSError) as error:
        report = Report(reason=error)
    with tolerate_broken_pipe():
        report.print(as_json=options.as_json)
    return report.exit_code


class _Push:
    def __init__(
        self, options: PushOptions, interruption: Interruption, api_policy: APIPolicy | None, limits: PushLimits
    ) -> None:
        self._options = options
        self._interruption = interruption
        # A batch that waits for the API's pace inside a call would count as sent: the pusher itself waits.
        self._api_policy = attrs.evolve(api_policy or APIPolicy(batch_rate=options.rate), patience=0)
        self._limits = attrs.evolve(
            limits, give_up_after=options.give_up_after, records=options.limit, until=options.until
        )

    def run(self) -> Report:
        options = self._options
        if options.check:
            with self._source() as (source, _):
                return self._only_check(source)
        # Made before the input is read, so that a missing setting is reported at once.
        session = options.connection.session(api_policy=self._api_policy)
        path = options.state_path
        with self._source() as (source, stdin):
            facts = PushFacts(
                fingerprint=source.fingerprint(),
                records=0,
                rules=options.rules.facts() | _day(options.rules),
                account=session.client_account_id or "",
                base_url=str(session.base_url),
                version=options.version,
                input=source.name,
            )
            kept, is_new = (None, False) if path == Path(options.file) else _make_room(path, facts)
            checked = self._check(source) if is_new else None
            if checked is not None and checked.unreadable:
                return Report(checked=checked, refusal=True, kept=kept)
            if checked is not None and not path.exists():
                create_state(path, attrs.evolve(facts, records=checked.records), stdin)
            with open_state(path) as state:
                report = self._begin_or_resume(source, state, session, checked)
                return attrs.evolve(report, kept=kept)

    def _begin_or_resume(
        self, source: Source, state: PushState, session: VBCSession, checked: Checked | None
    ) -> Report:
        options = self._options
        refusal = checked is not None and checked.invalid > 0 and not options.skip_invalid
        reason: Exception | None = None
        if refusal:
            _note_invalid(state, source)
        else:
            if options.send_unknown:
                state.reopen_unknown()
            if state.batches(*PENDING) or options.wait is not None:
                with Bar("pushing", state.facts.records, pace=self._api_policy.batch_rate) as bar:
                    reason = asyncio.run(self._run(source, state, session, checked, bar))
        return Report(
            totals=state.totals(),
            reasons=state.reasons(),
            checked=checked,
            reason=reason,
            refusal=refusal or isinstance(reason, ConfigurationError),
            interrupted=self._interruption.asked.is_set(),
            limited=options.limit is not None,
            state=state.path,
            file=options.file,
        )

    async def _run(
        self, source: Source, state: PushState, session: VBCSession, checked: Checked | None, bar: Bar
    ) -> Exception | None:
        asked = self._interruption.asked
        with self._interruption.on(asyncio.get_running_loop(), bar.stop):
            try:
                async with session:
                    await wait_out_failure(session)
                    pusher = Pusher(
                        session,
                        Pieces(source),
                        state,
                        interruption=self._interruption,
                        bar=bar,
                        limits=self._limits,
                    )
                    names = by_name(await pusher.labels())
                    if checked is not None and names is not None and not self._options.skip_invalid:
                        check_labels(checked.labels_used, names)
                    parser = RowParser(_rules(state), names)
                    reason = await pusher.push(parser)
                    if reason is None and self._options.wait is not None and not asked.is_set():
                        wait = self._options.wait
                        return await ask_outcomes(
                            state, source, parser, session.calls, wait=wait, bar=bar, asked_to_stop=asked
                        )
                    return reason
            except StoppedError:
                return None
            except ANY_FAILURE as error:
                return error

    def _only_check(self, source: Source) -> Report:
        checked = self._check(source)
        account, names = asyncio.run(self._look_at_account())
        problem: ConfigurationError | None = None
        try:
            check_labels(checked.labels_used, names or {})
        except ConfigurationError as error:
            problem = error if names is not None else None
        return Report(checked=checked, only_check=True, account=account, reason=problem, unit=source.unit)

    async def _look_at_account(self) -> tuple[str, Mapping[str, str] | None]:
        """Return one line about the account, and its labels if they can be had."""
        try:
            async with self._options.connection.session(api_policy=self._api_policy) as session:
                await wait_out_failure(session)
                labels = await session.labels.list()
                status = session.status()
                return f"account: {len(labels)} labels, {status.mints_left} tokens left to mint", by_name(labels)
        except ANY_FAILURE as error:
            return f"the account was not looked at: {describe(error)}", None

    def _check(self, source: Source) -> Checked:
        with Bar("checking", None) as bar:
            parser = RowParser(self._options.rules)
            checked = check(source, parser, time.time(), bar, duplicates=self._options.check)
        source.check_unchanged()
        return checked

    @contextlib.contextmanager
    def _source(self) -> Generator[tuple[Source, IO[bytes] | None]]:
        """Open FILE, standard input, or the standard input that an earlier push has kept in its state."""
        options = self._options
        path = Path(options.file)
        if options.file != _STDIN and not is_state(path):
            with open_source(path, options.source) as source:
                yield source, None
            return
        with tempfile.TemporaryFile() as file:
            if options.file == _STDIN:
                copy_stdin(file)
            else:
                with open_state(path) as state:
                    if not state.copy_input(file):
                        raise ConfigurationError(f"{path} keeps no input: give {state.facts.input} as FILE")
            source = Source(file, path, "standard input", options.source)
            yield source, file if options.file == _STDIN else None


def by_name(labels: Iterable[Label] | None) -> dict[str, str] | None:
    """Return the IDs of labels by folded name and by ID."""
    if labels is None:
        return None
    known = list(labels)
    return {it.name.casefold(): it.id for it in known} | {it.id: it.id for it in known}


def check_labels(used: Mapping[str, tuple[int, int]], names: Mapping[str, str]) -> None:
    """Check that the account has all labels that the input uses.

    Raises:
        ConfigurationError: names those that it has not.
    """
    wrong = [
        f"{label!r} ({count:,} times, first in line {line})"
        for label, (count, line) in used.items()
        if label not in names and label.casefold() not in names
    ]
    if wrong:
        raise ConfigurationError(
            f"the account has no label {', '.join(wrong[:5])}: correct it (`truecaller-vbc labels list` shows all), or "
            "leave these records out with --skip-invalid"
        )


def _note_invalid(state: PushState, source: Source) -> None:
    """Keep the problems of a refused input, for the list of rejects."""
    parser, now = RowParser(_rules(state)), time.time()
    rows = enumerate(source.rows())
    for batch in state.batches():
        faults: dict[int, str] = {}
        for position, row in rows:
            if fault := parser.fault(row, now):
                faults[position] = fault
            if position + 1 == batch.first + batch.size:
                break
        if faults:
            state.answered(batch, faults)


def _day(rules: RecordRules) -> dict[str, Any]:
    """Return the day as it was given, since ``tomorrow`` is another one after midnight."""
    return {"date": rules.date, "window": rules.window} if rules.date is not None else {}


def _rules(state: PushState) -> RecordRules:
    """Return the rules that the push was begun with."""
    return RecordRules(**{name: value for name, value in state.facts.rules.items() if name not in ("date", "window")})


def _make_room(path: Path, facts: PushFacts) -> tuple[Path | None, bool]:
    """Set the state of an earlier push aside if the input begins a new one.

    Returns:
        where the earlier one is kept now, if any; whether the input has to be checked, since nothing was sent.

    Raises:
        ConfigurationError: an earlier push has to be finished first.
    """
    if not path.exists():
        return None, True
    with open_state(path) as state:
        before = state.facts
        is_same_input = before.fingerprint == facts.fingerprint
        differing = set(facts_differ(before, facts))
        if facts.rules.get("date") and not state.is_finished:
            differing -= {"starts_at", "ends_at"}  # the day was resolved when the push began
        if is_same_input and not differing:
            return None, state.has_sent_nothing
        what = f"another {', '.join(sorted(differing))}" if is_same_input else "another input"
        if not state.is_finished and not state.has_sent_nothing:
            raise ConfigurationError(
                f"{path} has a push that is not finished, begun {before.begun} with {what}: finish it first with the "
                "input and the options that it was begun with, or name another state with --state"
            )
        if is_same_input and not state.has_sent_nothing and not _OF_THE_DAY.issuperset(differing):
            raise ConfigurationError(
                f"{facts.input} was pushed already, begun {before.begun} with {what}: to send all of it once more, "
                "name another state with --state"
            )
        return set_aside(path), True
