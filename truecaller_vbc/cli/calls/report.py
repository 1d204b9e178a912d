"""Say how a push or a check ended, in words or as one JSON document."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import typer

from ...api.foreign_text import plain
from ...call_lists.checking import Checked, without_values
from ..failures import ANY_FAILURE, DONE, IN_PART, INTERRUPTED, NOTHING_SENT, STOPPED, describe, exit_code
from ..output import count_of, tolerate_broken_pipe
from .interruption import Interruption
from .preview import where
from .state import OUTCOMES, STDIN, PushState

_MOST_REASONS: Final = 10
_MOST_EXAMPLES: Final = 5
_MOST_IN_JSON: Final = 100
_MOST_CHARACTERS: Final = 600
_PROGRAM: Final = ("truecaller-vbc", "calls")
_NOTHING: Final[Mapping[str, int]] = dict.fromkeys(OUTCOMES, 0)


def in_words(totals: Mapping[str, int]) -> str:
    """Return the counts that are not 0."""
    return ", ".join(f"{count:,} {name}" for name, count in totals.items() if count)


@attrs.frozen
class Reason:
    """Count the records of one outcome and reason.

    Args:
        outcome: of the records.
        reason: in words.
        records: how many.
        lines: the first of them in the input, if known.
    """

    outcome: str
    reason: str
    records: int
    lines: tuple[int, ...] = ()

    def in_words(self, unit: str) -> str:
        """Return one line."""
        counted = where((self.records, self.lines), unit)
        return f"{self.outcome}: {plain(self.reason, _MOST_CHARACTERS)} ({counted})"


@attrs.frozen(kw_only=True)
class Report:
    """Summarise a command.

    Args:
        totals: number of rows by outcome.
        reasons: number of rows by outcome and reason.
        checked: what was found in the input, if it was checked.
        reason: error that ended it.
        refusal: whether nothing was sent because of the input.
        shown: lines that show what would be sent, if that was all that was asked for.
        interrupted: whether a signal asked it to stop.
        limited: whether only some rows were to be sent.
        waited: whether all outcomes were asked for.
        unit: what the numbers of rows count.
        file: the input, as it was given.
        arguments: of ``calls push``, to print the command that goes on.
        state: state of the push.
        kept: where the state of an earlier push is kept now.
    """

    totals: Mapping[str, int] = _NOTHING
    reasons: Mapping[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int])
    checked: Checked = attrs.field(factory=Checked)
    reason: Exception | None = None
    refusal: bool = False
    shown: Sequence[str] | None = None
    interrupted: bool = False
    limited: bool = False
    waited: bool = False
    unit: str = "line"
    file: str = ""
    arguments: tuple[str, ...] = ()
    state: Path | None = None
    kept: Path | None = None

    @property
    def exit_code(self) -> int:
        """Return the exit code; see the help of the command."""
        totals, checked = self.totals, self.checked
        if self.shown is not None:
            return NOTHING_SENT if checked.unreadable or checked.invalid or self.reason is not None else DONE
        if self.refusal or (self.reason is not None and exit_code(self.reason) == NOTHING_SENT):
            return NOTHING_SENT
        if self.interrupted and (totals["unsent"] or self._is_waiting or not sum(totals.values())):
            return INTERRUPTED
        if self.reason is not None or (totals["unsent"] and not self.limited) or self._is_waiting:
            return STOPPED
        return IN_PART if any(totals[word] for word in ("refused", "unknown", "invalid", "failed")) else DONE

    @property
    def _is_waiting(self) -> bool:
        return self.waited and self.totals["acknowledged"] > 0

    def print(self, *, as_json: bool) -> None:
        """Print the report on standard output, and what needs attention on standard error."""
        for line in [json.dumps(self._facts())] if as_json else self._lines():
            typer.echo(line)
        for line in self._problems():
            typer.echo(line, err=True)

    def _facts(self) -> dict[str, Any]:
        checked = self.checked
        return {
            "exit_code": self.exit_code,
            "records": checked.records or sum(self.totals.values()),
            **self.totals,
            "reasons": [attrs.asdict(it) for it in self._sorted_reasons()[:_MOST_IN_JSON]],
            "problems": [attrs.asdict(problem) for problem in checked.problems],
            "warnings": {text: count for text, (count, _) in checked.warnings.items()},
            "duplicates": checked.duplicates and checked.duplicates[0],
            "error": self._refusal() or None if self.reason is None else describe(self.reason),
            "interrupted": self.interrupted,
            "resumable": self._can_go_on,
            "state": None if self.state is None else str(self.state),
            "kept": None if self.kept is None else str(self.kept),
        }

    @property
    def _can_go_on(self) -> bool:
        return self.state is not None and not self.refusal and self.totals["unsent"] > 0

    def _sorted_reasons(self) -> list[Reason]:
        """Return the reasons, the most frequent first; those of the check have the lines."""
        counts = Counter[tuple[str, str]]()
        for (outcome, text), count in self.reasons.items():
            if outcome != "invalid" or not self.checked.reasons:
                counts[outcome, without_values(text) if outcome == "invalid" else text] += count
        found = [Reason("invalid", text, *counted) for text, counted in self.checked.reasons.items()]
        found += [Reason(*told, count) for told, count in counts.items()]
        return sorted(found, key=lambda it: -it.records)

    def _problems(self) -> list[str]:
        """Return the lines about what needs attention, which cron sends by mail."""
        reasons = self._sorted_reasons()
        shown = reasons if self.shown is None else []
        lines = [it.in_words(self.unit) for it in shown[:_MOST_REASONS]]
        if more := shown[_MOST_REASONS:]:
            records = sum(it.records for it in more)
            lines.append(f"{count_of(len(more), 'other reason')} ({count_of(records, 'record')})")
        if refusal := self._refusal():
            known = {it.reason for it in reasons}
            examples = [] if self.checked.unreadable else [it for it in self.checked.problems if it.fault not in known]
            lines += [f"for example {self.unit} {it.line}: {it.fault}" for it in examples[:_MOST_EXAMPLES]]
            lines.append(f"error: {refusal}")
        if self.reason is not None:
            lines.append(f"error: {describe(self.reason)}")
        return lines

    def _refusal(self) -> str:
        """Return why nothing was sent, or "" if that is not because of the input."""
        checked = self.checked
        if not (self.refusal or self.shown is not None) or self.reason is not None:
            return ""
        if checked.unreadable:
            last = checked.problems[-1]
            return f"nothing was sent: {self.unit} {last.line}: {last.fault}"
        if not checked.invalid:
            return ""
        return "nothing was sent: correct these records, or leave them out with --skip-invalid"

    def _lines(self) -> list[str]:
        """Return how it ended, and the commands that may come next."""
        if self.shown is not None:
            good = ", and no problem was found" if self.exit_code == DONE else ""
            return [*self.shown, f"nothing was sent: this was only a check{good}"]
        totals, lines = self.totals, list[str]()
        records = sum(totals.values())
        if records or self.state is not None:
            lines.append(f"{count_of(records, 'record')}: {in_words(totals) or 'nothing to send'}")
        if self.kept is not None:
            lines.append(f"the earlier push of this name is kept in {plain(self.kept)}")
        if self.state is None:
            return lines
        if self._can_go_on:
            lines.append(f"{count_of(totals['unsent'], 'record')} not sent: to go on, {self._push()}")
        if totals["unknown"]:
            lines.append(
                f"{count_of(totals['unknown'], 'record')} may have been taken or not, since the answer was lost: "
                f"to send them once more, {self._push('--send-unknown')}"
            )
        if totals["refused"] or totals["invalid"] or totals["failed"]:
            lines.append(f"to mend the others: {self._command('rejects')}")
        if totals["acknowledged"]:
            lines.append(f"what became of them: {self._command('outcomes')}")
        return lines

    def _push(self, *more: str) -> str:
        """Return the command that goes on with the same options."""
        name = str(self.state) if self.file == STDIN else self.file
        given = [name if it == STDIN else it for it in self.arguments if it not in more] or [name]
        return shlex.join((*_PROGRAM, "push", *more, *given))

    def _command(self, name: str) -> str:
        state = str(self.state)
        file = state if self.file == STDIN else self.file
        more = () if state in (file, f"{file}.push") else ("--state", state)
        return shlex.join((*_PROGRAM, name, *((*more, "--", file) if file.startswith("-") else (file, *more))))


def print_report(run: Callable[[Interruption], Report], *, as_json: bool) -> int:
    """Run a command that signals may end, print its report, and return the exit code."""
    interruption = Interruption()
    try:
        with interruption.handle_signals():
            report = run(interruption)
    except KeyboardInterrupt:
        report = Report(interrupted=True)
    except ANY_FAILURE as error:
        report = Report(reason=error)
    with tolerate_broken_pipe():
        report.print(as_json=as_json)
    return report.exit_code


def report_on(state: PushState, file: str, interruption: Interruption, **more: Any) -> Report:
    """Return the report on a push, with what its state tells."""
    totals, reasons, interrupted = state.totals(), state.reasons(), interruption.asked.is_set()
    return Report(totals=totals, reasons=reasons, interrupted=interrupted, file=file, state=state.path, **more)
