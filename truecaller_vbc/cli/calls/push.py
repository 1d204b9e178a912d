"""Check an input, find or begin its push, send it, and report (``truecaller-vbc calls push``)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from datetime import datetime, timedelta
from datetime import time as datetime_time
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, Literal

import attrs

from ...api.models import Label
from ...api.policy import APIPolicy
from ...call_lists import Checked, Source, label_ids, open_source
from ...errors import ConfigurationError, VBCError
from ...session import VBCSession
from ...token.policy import TokenPolicy
from ..connection import Connection
from ..failures import ANY_FAILURE, describe
from ..options import flag, option
from ..output import count_of, standard_input
from .interruption import Interruption, in_session
from .list_options import RecordRules, RowParser, SourceOptions
from .outcomes import OutcomeReader
from .parsing import DURATION, WAIT
from .pieces import Pieces, in_batches
from .place import PUSHING, PushPlace, open_push, rules_of
from .preview import check, preview
from .progress import Bar
from .pusher import Pusher, PushLimits
from .report import Report, print_report, report_on
from .state import STDIN, PushFacts, PushState, create_state, facts_differ, is_state, open_state, set_aside

# Each day's calls to the same receivers are a new push.
_OF_THE_DAY: Final = frozenset({"date", "window", "starts_at", "ends_at"})
VERSION_HELP: Final = "Of the batch endpoint; v2 is the previous one."


def _until(given: str) -> float:
    """Return the moment at which a clock in this time zone shows this time of day: today, or tonight after midnight."""
    try:
        at = datetime_time.fromisoformat(given)
    except ValueError:
        raise VBCError(f"--until {given}: write a time of day such as 18:00") from None
    now = datetime.now().astimezone()
    end = datetime.combine(now, at).astimezone()
    # A time of this morning may be meant for tomorrow's; one that has just passed is not.
    return (end if end > now - timedelta(hours=12) else end + timedelta(days=1)).timestamp()


@attrs.frozen(kw_only=True)
class PushOptions(PushPlace):
    """Hold the options of the command; see its help.

    Raises:
        ConfigurationError: the options contradict each other.
    """

    check: bool = flag("Look at list and account; nothing is sent.", PUSHING)
    rules: RecordRules = attrs.field(factory=RecordRules)
    source: SourceOptions = attrs.field(factory=SourceOptions)
    skip_invalid: bool = flag("Send the others nevertheless.", PUSHING)
    send_unknown: bool = flag("Send once more what may have been lost.", PUSHING)
    limit: int | None = option("So many records, to try a few first.", PUSHING, min=1)
    until: float | None = option("Stop at this time, such as 18:00.", PUSHING, parser=_until, metavar="TIME")
    rate: int = option("Batches a minute, of each token.", PUSHING, default=60, min=1)
    tokens: int = option("Tokens that may live at once; each adds its rate.", PUSHING, default=1, min=1, max=7)
    give_up_after: float = option("How long to wait for the API (1h).", PUSHING, default=3600.0, **DURATION)
    wait: float | None = option("Then ask what became of them, for so long; else 10m.", PUSHING, **WAIT)
    version: Literal["v3", "v2"] = option(VERSION_HELP, name="--api-version", default="v3")
    connection: Connection
    as_json: bool = flag("One JSON document, and nothing else.", name="--json")
    arguments: tuple[str, ...] = ()


def push(options: PushOptions, *, api_policy: APIPolicy | None = None, scale: float = 1.0) -> int:
    """Run the push, print the report, and return the exit code.

    Args:
        options: options of the command.
        api_policy: another pace, for benchmarks.
        scale: factor of all durations of pace, tokens and waits, for benchmarks.
    """
    # A batch that waits for the API's pace inside a call would count as sent: the pusher itself waits.
    policy = attrs.evolve((api_policy or APIPolicy(batch_rate=options.rate)).scaled(scale), patience=timedelta(0))
    return print_report(lambda asked: _Push(options, asked, policy, scale).run(), as_json=options.as_json)


@attrs.frozen
class _Push:
    _options: PushOptions
    _interruption: Interruption
    _api_policy: APIPolicy
    _scale: float

    def run(self) -> Report:
        options = self._options
        # Made before the input is read, so that a missing setting is reported at once.
        policy = TokenPolicy(tokens=options.tokens).scaled(self._scale)
        session = None if options.check else options.connection.session(api_policy=self._api_policy, policy=policy)
        if is_state(Path(options.file)):
            with open_push(options) as (source, state):
                return self._send(source, state, session, None) if session else self._only_check(source)
        with _open_input(options) as (source, stdin):
            if session is None:
                return self._only_check(source)
            facts = PushFacts(
                fingerprint=source.fingerprint(),
                records=0,
                rules=_facts(options),
                account=session.client_account_id or "",
                base_url=str(session.base_url),
                version=options.version,
                input=source.name,
            )
            path = options.state_path
            kept, is_new = _make_room(path, facts)
            checked = self._check(source) if is_new else None
            if checked is not None and checked.unreadable:
                return Report(checked=checked, refusal=True, kept=kept, unit=source.unit)
            if checked is not None and not path.exists():
                create_state(path, attrs.evolve(facts, records=checked.records), stdin)
            with open_state(path) as state:
                return attrs.evolve(self._send(source, state, session, checked), kept=kept)

    def _send(self, source: Source, state: PushState, session: VBCSession, checked: Checked | None) -> Report:
        options = self._options
        refusal = checked is not None and checked.invalid > 0 and not options.skip_invalid
        reason: Exception | None = None
        if refusal:
            _note_invalid(state, source)
        else:
            if options.send_unknown:
                state.reopen_unknown()
            if not state.is_finished or options.wait is not None:
                with Bar("pushing", state.facts.records, pace=options.rate * options.tokens) as bar:
                    work = partial(self._work, source, state, session, checked, bar)
                    reason = asyncio.run(in_session(session, work, self._interruption, bar.stop))
        return report_on(
            state,
            options.file,
            self._interruption,
            checked=checked or Checked(),
            reason=reason,
            refusal=refusal or isinstance(reason, ConfigurationError),
            limited=options.limit is not None,
            waited=options.wait is not None and reason is None,
            unit=source.unit,
            arguments=options.arguments,
        )

    async def _work(
        self, source: Source, state: PushState, session: VBCSession, checked: Checked | None, bar: Bar
    ) -> Exception | None:
        asked, options = self._interruption.asked, self._options
        waits = 2.0 * self._scale, 60.0 * self._scale
        limits = PushLimits(options.give_up_after, options.limit or math.inf, options.until or math.inf, *waits)
        pusher = Pusher(session, Pieces(source), state, self._interruption, bar, limits)
        labels = await pusher.labels()
        ids = None if labels is None else label_ids(labels)
        if checked and not options.skip_invalid and (missing := missing_labels(checked.labels_used, ids)):
            return missing
        parser = RowParser(rules_of(state), ids)
        reason = await pusher.push(parser)
        if reason is None and options.wait is not None and not asked.is_set():
            await OutcomeReader(source, parser, state, session.calls, bar, asked).ask(options.wait)
        return reason

    def _only_check(self, source: Source) -> Report:
        checked = self._check(source)
        account, labels = asyncio.run(self._look_at_account())
        missing = missing_labels(checked.labels_used, None if labels is None else label_ids(labels))
        names, rate = {it.id: it.name for it in labels or ()}, self._options.rate * self._options.tokens
        shown = [*preview(checked, unit=source.unit, rate=rate, labels=names), account]
        return Report(checked=checked, shown=shown, reason=missing, unit=source.unit)

    async def _look_at_account(self) -> tuple[str, list[Label] | None]:
        """Return one line about the account, and its labels if they can be had."""
        try:
            async with self._options.connection.open(api_policy=self._api_policy) as session:
                labels = await session.labels.list()
                return f"account: {len(labels)} labels, {session.status().mints_left} tokens left to mint", labels
        except ANY_FAILURE as error:
            return f"the account was not looked at: {describe(error)}", None

    def _check(self, source: Source) -> Checked:
        with Bar("checking", None) as bar:
            parser = RowParser(self._options.rules)
            checked = check(source, parser, time.time(), bar, duplicates=self._options.check)
        source.check_unchanged()
        return checked


@contextlib.contextmanager
def _open_input(options: PushOptions) -> Generator[tuple[Source, IO[bytes] | None]]:
    """Yield FILE, or standard input and the copy of it."""
    if options.file != STDIN:
        with open_source(Path(options.file), options.source) as source:
            yield source, None
        return
    with tempfile.TemporaryFile() as copy:
        copy_stdin(copy)
        yield Source(copy, Path(STDIN), "standard input", options.source), copy


def copy_stdin(file: IO[bytes]) -> None:
    """Copy all of standard input into a file.

    Raises:
        ConfigurationError: it cannot be read, or not be written.
    """
    try:
        shutil.copyfileobj(standard_input(), file)
        file.flush()
    except OSError as error:
        raise ConfigurationError(f"standard input cannot be kept ({error.strerror})") from None


def missing_labels(used: Mapping[str, tuple[int, int]], ids: Mapping[str, str] | None) -> ConfigurationError | None:
    """Return the error about the labels of the input that the account has not; None if these cannot be known."""
    missing = [
        f"{label!r} (in {count_of(count, 'record')}, first in line {line})"
        for label, (count, line) in used.items()
        if ids is not None and label not in ids and label.casefold() not in ids
    ]
    if not missing:
        return None
    return ConfigurationError(
        f"the account has no label {', '.join(missing[:5])}: correct it (`truecaller-vbc labels list` shows all), or "
        "leave these records out with --skip-invalid"
    )


def _note_invalid(state: PushState, source: Source) -> None:
    """Keep the problems of a refused input, for the list of rejects."""
    parser, now = RowParser(rules_of(state)), time.time()
    for batch, rows in in_batches(source, state.batches()):
        faults = {at: fault for at, row in enumerate(rows, batch.first) if (fault := parser.fault(row, now))}
        if faults:
            state.answered(batch, faults)


def _facts(options: PushOptions) -> dict[str, Any]:
    """Return all that decides what is sent; the day also as it was given, since ``tomorrow`` is another one later."""
    rules, source = options.rules, options.source
    given = {"date": rules.date, "window": rules.window, "format": source.format, "delimiter": source.delimiter}
    return rules.facts() | {name: value for name, value in given.items() if value is not None}


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
