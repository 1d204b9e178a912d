"""Check a file, send it, and resume it after an interruption (``truecaller-vbc calls push``)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import typer

from ...api.policy import APIPolicy
from ...errors import ConfigurationError, VBCError
from ...session import VBCSession
from ..connection import Connection, wait_out_failure
from ..failures import ANY_FAILURE, INTERRUPTED, describe, exit_code, exit_with, silence_log
from ..output import tolerate_broken_pipe
from .journal import Header, Journal, Totals, open_journal
from .progress import Bar
from .pusher import Interruption, Pusher
from .reading import Format, Source, check_regular, keep, open_source, store_stdin
from .records import Checked, RowParser, check
from .report import Report, results_of_check, results_of_push, write_results

_STDIN: Final = "-"
_STDIN_NAME: Final = "calls-push"


@attrs.frozen(kw_only=True)
class PushOptions:
    """Hold the options of the command; see its help.

    Raises:
        ConfigurationError: the options contradict each other.
    """

    file: str
    connection: Connection
    version: Literal["v3", "v2"] = "v3"
    label_id: str | None = None
    no_label: bool = False
    skip_invalid: bool = False
    check: bool = False
    format: Format | None = None
    given_results: Path | None = None
    given_journal: Path | None = None
    as_json: bool = False

    def __attrs_post_init__(self) -> None:
        if self.no_label and self.label_id is not None:
            raise ConfigurationError("--label-id and --no-label contradict each other: give one of them")
        input_file = self.spool if self.from_stdin else Path(self.file)
        # Compare resolved paths, so that the results can never overwrite the input.
        paths = [os.path.realpath(path) for path in (input_file, self.journal, self.results)]
        if len(set(paths)) < len(paths):
            raise ConfigurationError("FILE, --journal and --results must be different files")

    @property
    def from_stdin(self) -> bool:
        """Tell whether the input comes from standard input."""
        return self.file == _STDIN

    @property
    def journal(self) -> Path:
        """Return the path of the journal."""
        return self.given_journal or Path(f"{self._name}.journal")

    @property
    def results(self) -> Path:
        """Return the path of the results."""
        return self.given_results or Path(f"{self._name}.results.csv")

    @property
    def spool(self) -> Path:
        """Return where standard input is stored as long as it may be needed again."""
        return Path(f"{self.journal}.input")

    @property
    def _name(self) -> str:
        return _STDIN_NAME if self.from_stdin else self.file


def push(options: PushOptions, *, api_policy: APIPolicy | None = None) -> int:
    """Run the push and return the exit code.

    Args:
        options: options of the command.
        api_policy: another pace, for tests and benchmarks.

    Returns:
        the exit code.
    """
    silence_log()
    interruption = Interruption()
    try:
        with interruption.handle_signals():
            report = _Push(options, interruption).run(api_policy)
            with tolerate_broken_pipe():
                report.print(as_json=options.as_json)
            return report.exit_code
    except KeyboardInterrupt:
        typer.echo("interrupted: run the same command again", err=True)
        return INTERRUPTED
    except (VBCError, OSError) as error:
        exit_with(VBCError(describe(error)), exit_code(error))


class _Push:
    def __init__(self, options: PushOptions, interruption: Interruption) -> None:
        self._options = options
        self._interruption = interruption
        self._parser = RowParser(label_id=options.label_id, no_label=options.no_label)

    def run(self, api_policy: APIPolicy | None) -> Report:
        options = self._options
        if not options.results.parent.is_dir():
            raise ConfigurationError(
                f"there is no directory for the results {options.results}: name another place with --results"
            )
        if options.results.exists() and not options.results.is_file():
            raise ConfigurationError(
                f"the results {options.results} would take the place of what is no file: name another with --results"
            )
        if not options.from_stdin:
            check_regular(Path(options.file))
        if options.check:
            with self._source(kept=None) as source:
                return self._only_check(source)
        # Checked before the input is read, so that a missing setting is reported at once.
        session = options.connection.session(api_policy=api_policy)
        with open_journal(options.journal) as journal, self._source(kept=options.spool) as source:
            return self._begin_or_resume(source, journal, session)

    def _source(self, kept: Path | None) -> contextlib.AbstractContextManager[Source]:
        options = self._options
        if options.from_stdin:
            return store_stdin(kept, options.format)
        return open_source(Path(options.file), options.format)

    def _only_check(self, source: Source) -> Report:
        now = time.time()
        checked = self._checked(source, now)
        return self._report_problems(source, checked, now) if _is_bad(checked) else _good(checked)

    def _checked(self, source: Source, now: float) -> Checked:
        with Bar("checking", None) as bar:
            return check(source, self._parser, now, bar)

    def _report_problems(self, source: Source, checked: Checked, now: float) -> Report:
        """Write the results of an input of which nothing is sent, with the problems of each record."""
        write_results(self._options.results, results_of_check(source, self._parser, now))
        totals = Totals(unsent=checked.records - checked.invalid, invalid=checked.invalid + checked.unreadable)
        records = checked.records + checked.unreadable
        results = self._options.results
        return Report(
            records=records,
            totals=totals,
            problems=checked.problems,
            refusal=True,
            unreadable=checked.unreadable,
            results=results,
        )

    def _begin_or_resume(self, source: Source, journal: Journal, session: VBCSession) -> Report:
        fingerprint = source.fingerprint()
        chosen = self._push_options(source, session)
        problems: tuple[Any, ...] = ()
        if journal.header is None:
            now = time.time()
            checked = self._checked(source, now)
            if checked.unreadable or (checked.invalid and not self._options.skip_invalid):
                return self._report_problems(source, checked, now)
            source.check_unchanged()
            problems = checked.problems
            journal.begin(Header(fingerprint, chosen, checked.records))
        else:
            _must_match(journal.header, Header(fingerprint, chosen, journal.header.records), journal.path)
        if self._options.from_stdin:
            keep(source, self._options.spool)
        reason = self._send(source, journal, session) if journal.chunks.any_pending else None
        results: Path | None = self._options.results
        try:
            write_results(self._options.results, results_of_push(source, self._parser, journal))
        except VBCError as error:
            results, reason = None, reason or error
        report = Report(
            records=journal.chunks.records,
            totals=journal.chunks.totals(),
            problems=problems,
            reason=reason,
            interrupted=self._interruption.asked.is_set(),
            results=results,
            journal=self._options.journal,
            input=self._options.spool if self._options.from_stdin else None,
        )
        if self._options.from_stdin and not report.should_run_again:
            source.path.unlink()  # it contains personal data
        return report

    def _push_options(self, source: Source, session: VBCSession) -> dict[str, Any]:
        """Return the options that decide what is sent, and where."""
        options = self._options
        return {
            "account": session.client_account_id,
            "base_url": str(session.base_url),
            "format": source.format.value,
            "api_version": options.version,
            "label_id": options.label_id,
            "no_label": options.no_label,
            "skip_invalid": options.skip_invalid,
        }

    def _send(self, source: Source, journal: Journal, session: VBCSession) -> Exception | None:
        with Bar("pushing", journal.chunks.records) as bar:
            bar.show(journal.chunks.totals())
            pusher = Pusher(source, self._parser, journal, self._interruption, bar)
            return asyncio.run(self._run(pusher, session, bar))

    async def _run(self, pusher: Pusher, session: VBCSession, bar: Bar) -> Exception | None:
        with self._interruption.on(asyncio.get_running_loop(), bar.stop):
            try:
                async with session:
                    await wait_out_failure(session)
                    return await pusher.push(session.calls, self._options.version)
            except ANY_FAILURE as error:
                return error


def _is_bad(checked: Checked) -> bool:
    return checked.unreadable or checked.invalid > 0


def _good(checked: Checked) -> Report:
    return Report(records=checked.records, totals=Totals(unsent=checked.records))


def _must_match(before: Header, now: Header, path: Path) -> None:
    if before.fingerprint != now.fingerprint:
        raise ConfigurationError(
            f"the journal {path} is of another input, or FILE was changed since: give the input as it was, "
            "or name another journal with --journal"
        )
    differing = [name for name, value in now.options.items() if before.options.get(name) != value]
    if differing:
        raise ConfigurationError(
            f"the journal {path} was begun with another {', '.join(differing)}: give the same, "
            "or name another journal with --journal"
        )
