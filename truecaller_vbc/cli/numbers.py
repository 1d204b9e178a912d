"""List numbers, publish and delist them (``truecaller-vbc numbers``)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import attrs
import typer

from ..api.models import BusinessNumber, FeatureSet
from ..api.number_results import NumbersResult
from ..api.records import is_e164, number_problem
from ..errors import ConfigurationError, NotFoundError, NumbersRefusedError, PartlyDoneError
from ..session import VBCSession
from .connection import PREFIX, AsJSON, BaseURL, Connection, Prefix, Store
from .failures import DONE, IN_PART, NOTHING_SENT, STOPPED, describe, exit_with, run_to_code
from .output import plain, print_json, print_table, standard_input

_STDIN: Final = "-"
_MOST_SHOWN: Final = 20
_MOST_CHARACTERS: Final = 200


def read_numbers(file: str) -> list[str]:
    """Read numbers in E.164, one a line; skip blank lines.

    Raises:
        ConfigurationError: some lines are not numbers (the first 20 are named), or the file has no number.
    """
    if file == _STDIN:
        return _read_lines(standard_input())
    try:
        with Path(file).open("rb") as opened:
            return _read_lines(opened)
    except OSError as error:
        raise ConfigurationError(f"{plain(file)} cannot be read ({error.strerror})") from None


def _read_lines(file: BinaryIO) -> list[str]:
    numbers: list[str] = []
    wrong: list[str] = []
    for line, text in enumerate(file, 1):
        # Trim before cutting, or a number followed by much blank space and garbage would pass.
        number = text.decode("utf-8-sig", "replace").strip()[:_MOST_CHARACTERS]
        if is_e164(number):
            numbers.append(number)
        elif number:
            wrong.append(f"line {line}: {plain(number_problem(number))}")
    if wrong:
        more = len(wrong) - _MOST_SHOWN
        shown = [*wrong[:_MOST_SHOWN], *([f"and {more:,} more lines"] if more > 0 else [])]
        raise ConfigurationError("\n".join(["nothing was sent: these are no numbers in E.164", *shown]))
    if not numbers:
        raise ConfigurationError("there are no numbers: one on each line is needed")
    return numbers


app: typer.Typer = typer.Typer(no_args_is_help=True, help="Which numbers are listed, and in which feature set.")

_CHANGE: Final = """{what}

FILE has one number in E.164 on each line; - is standard input. All are checked first, and nothing is sent if one is \
wrong. It is done later by the API: look with 'numbers list'. Doing it twice does no harm.

The object of --json has: result (numbers by what became of them), failed and unsent (of a list that stopped), error.

Exit codes:

0  every number was taken, or is so already

1  some were not taken, or nobody knows

2  a wrong setting or number; nothing was sent

3  it stopped, or cannot be done now: run it again
"""
_LOOK: Final = """{what}

Exit codes:

0  done

2  a wrong setting

3  it cannot be told now
"""

Change = Literal["publish", "delist"]
FeatureSetID = Annotated[str, typer.Argument(metavar="FEATURE_SET", help="Its ID: see 'numbers feature-sets'.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="One number on each line; - for standard input.")]


@app.command("list", help=_LOOK.format(what="The numbers of the account."))
def list_numbers(  # noqa: D103 - its help is what it says
    *,
    feature_set: Annotated[
        list[str] | None, typer.Option("--feature-set", help="Only those of this one; may be given several times.")
    ] = None,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    async def main() -> int:
        async with connection.open() as vbc:
            with _named(", ".join(feature_set or []), "--feature-set"):
                found = [number async for number in _numbers(vbc, feature_set or [None])]
        if as_json:
            print_json(found)
        else:
            print_table(
                ("number", "status", "type", "feature set", "label", "department"),
                [
                    (it.phone_number, it.status, it.phone_type, it.feature_set_name, it.label_name, it.department)
                    for it in found
                ],
            )
        return DONE

    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    sys.exit(run_to_code(main(), as_json=as_json))


@app.command("feature-sets", help=_LOOK.format(what="The feature sets of the account, in which numbers are listed."))
def list_feature_sets(  # noqa: D103 - as above
    *, prefix: Prefix = PREFIX, base_url: BaseURL = None, store: Store = None, as_json: AsJSON = False
) -> None:
    async def main() -> int:
        async with connection.open() as vbc:
            found: list[FeatureSet] = [it async for it in vbc.numbers.feature_sets()]
        if as_json:
            print_json(found)
        else:
            print_table(
                ("feature set", "name", "status", "department", "description"),
                [(it.id, it.name, it.status, it.department_name, it.description) for it in found],
            )
        return DONE

    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    sys.exit(run_to_code(main(), as_json=as_json))


@app.command("publish", help=_CHANGE.format(what="List numbers in a feature set."))
def publish(  # noqa: D103 - as above
    feature_set: FeatureSetID,
    file: File,
    *,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    _change("publish", feature_set, file, Connection(prefix=prefix, base_url=base_url, store=store), as_json=as_json)


@app.command("delist", help=_CHANGE.format(what="Take numbers off a feature set."))
def delist(  # noqa: D103 - as above
    feature_set: FeatureSetID,
    file: File,
    *,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    _change("delist", feature_set, file, Connection(prefix=prefix, base_url=base_url, store=store), as_json=as_json)


@contextlib.contextmanager
def _named(feature_set: str, argument: str) -> Generator[None]:
    """Name the argument that a 404 is about."""
    try:
        yield
    except NotFoundError:
        if not feature_set:
            raise
        raise ConfigurationError(
            f"HTTP 404: the account has no feature set {plain(feature_set, 80)}: check {argument} "
            "(`truecaller-vbc numbers feature-sets` lists all)"
        ) from None


async def _numbers(vbc: VBCSession, feature_sets: list[str] | list[None]) -> AsyncIterator[BusinessNumber]:
    for feature_set in feature_sets:
        async for number in vbc.numbers.numbers(feature_set_id=feature_set):
            yield number


def _change(change: Change, feature_set: str, file: str, connection: Connection, *, as_json: bool) -> None:
    try:
        numbers = read_numbers(file)
    except ConfigurationError as error:
        exit_with(error, NOTHING_SENT, as_json=as_json)
    sys.exit(run_to_code(_changed(change, feature_set, numbers, connection, as_json=as_json), as_json=as_json))


async def _changed(
    change: Change, feature_set: str, numbers: list[str], connection: Connection, *, as_json: bool
) -> int:
    failure: NumbersRefusedError | PartlyDoneError | None = None
    async with connection.open() as vbc:
        try:
            done = vbc.numbers.publish if change == "publish" else vbc.numbers.delist
            with _named(feature_set, "FEATURE_SET"):
                result = await done(feature_set, numbers)
        except NumbersRefusedError as error:
            failure, result = error, error.result
        except PartlyDoneError as error:
            failure, result = error, error.done
    stopped = failure if isinstance(failure, PartlyDoneError) else None
    if as_json:
        facts: dict[str, Any] = {"result": result, "failed": [], "unsent": [], "error": None}
        if stopped is not None:
            facts |= {"failed": stopped.failed, "unsent": stopped.unsent}
        print_json(facts | ({} if failure is None else {"error": describe(failure)}))
    else:
        _print(result)
        if stopped is not None:
            typer.echo(f"{len(stopped.failed):,} numbers failed, and {len(stopped.unsent):,} were not sent")
    if failure is not None:
        typer.echo(f"error: {describe(failure)}", err=True)
    if stopped is not None:
        return STOPPED
    return IN_PART if failure is not None or result.not_done else DONE


def _print(result: NumbersResult) -> None:
    typer.echo(f"{result}")
    names = [field.name for field in attrs.fields(NumbersResult) if field.name != "status"]
    not_done = result.not_done
    rows = [(number, name.replace("_", " ")) for name in names for number in sorted(getattr(result, name) & not_done)]
    if rows:
        print_table(("number", "was not taken"), [(plain(number), why) for number, why in rows])
