"""List numbers, publish and delist them (``truecaller-vbc numbers``)."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Generator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
import typer

from ..api.foreign_text import plain
from ..api.number_results import NumbersResult
from ..api.records import is_e164, number_problem
from ..errors import ConfigurationError, NotFoundError, NumbersRefusedError, PartlyDoneError, VBCError
from .connection import Connection
from .failures import DONE, IN_PART, STOPPED, describe
from .options import AsJSON, with_options
from .output import print_all, print_json, print_table, standard_input

_MOST_SHOWN: Final = 20
_MOST_CHARACTERS: Final = 200


def read_numbers(file: str) -> list[str]:
    """Read numbers in E.164, one a line; skip blank lines.

    Raises:
        ConfigurationError: some lines are not numbers (the first 20 are named), or the file has no number.
    """
    try:
        with standard_input() if file == "-" else Path(file).open("rb") as opened:
            # Trim before cutting, or a number followed by much blank space and garbage would pass.
            lines = [line.decode("utf-8-sig", "replace").strip()[:_MOST_CHARACTERS] for line in opened]
    except OSError as error:
        raise ConfigurationError(f"{plain(file)} cannot be read ({error.strerror})") from None
    numbers = [number for number in lines if is_e164(number)]
    wrong = [f"line {at}: {plain(number_problem(it))}" for at, it in enumerate(lines, 1) if it and not is_e164(it)]
    if wrong:
        more = [f"and {len(wrong) - _MOST_SHOWN:,} more lines"] if len(wrong) > _MOST_SHOWN else []
        lines = ["nothing was sent: these are no numbers in E.164", *wrong[:_MOST_SHOWN], *more]
        raise ConfigurationError("\n".join(lines))
    if not numbers:
        raise ConfigurationError("there are no numbers: one on each line is needed")
    return numbers


app: typer.Typer = typer.Typer(no_args_is_help=True, help="Which numbers are listed, and in which feature set.")


Change = Literal["publish", "delist"]
FeatureSetID = Annotated[str, typer.Argument(metavar="FEATURE_SET", help="Its ID: see 'numbers feature-sets'.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="One number on each line; - for standard input.")]


@app.command("list")
@with_options
async def list_numbers(
    *,
    feature_set: Annotated[
        list[str] | None, typer.Option("--feature-set", help="Only those of this one; may be given several times.")
    ] = None,
    connection: Connection,
    as_json: AsJSON = False,
) -> int:
    """List the numbers of the account.

    Exit codes: 0 done, 2 a wrong setting, 3 not available now.
    """
    names: Sequence[str | None] = feature_set or [None]
    async with connection.open() as vbc:
        with _named(", ".join(feature_set or []), "--feature-set"):
            found = [it for name in names async for it in vbc.numbers.numbers(feature_set_id=name)]
    columns = {"number": "phone_number", "status": "status", "type": "phone_type", "feature set": "feature_set_name"}
    print_all(found, columns | {"label": "label_name", "department": "department"}, as_json=as_json)
    return DONE


@app.command("feature-sets")
@with_options
async def list_feature_sets(*, connection: Connection, as_json: AsJSON = False) -> int:
    """List the feature sets of the account, in which numbers are listed.

    Exit codes: 0 done, 2 a wrong setting, 3 not available now.
    """
    async with connection.open() as vbc:
        found = [it async for it in vbc.numbers.feature_sets()]
    columns = {"feature set": "id", "name": "name", "status": "status", "department": "department_name"}
    print_all(found, columns | {"description": "description"}, as_json=as_json)
    return DONE


@app.command("publish")
@with_options
def publish(
    feature_set: FeatureSetID, file: File, *, connection: Connection, as_json: AsJSON = False
) -> Coroutine[Any, Any, int]:
    """List numbers in a feature set.

    FILE has one number in E.164 on each line; - is standard input. All are checked first, and nothing is sent if one \
is wrong. It is done later by the API: look with 'numbers list'. Doing it twice does no harm.

    The object of --json has: result (numbers by what became of them), failed and unsent (of a list that stopped), \
error.

    Exit codes:

    0  every number was taken, or is so already

    1  some were not taken, or nobody knows

    2  a wrong setting or number; nothing was sent

    3  it stopped, or cannot be done now: run it again
    """
    return _change("publish", feature_set, read_numbers(file), connection, as_json=as_json)


@app.command("delist")
@with_options
def delist(
    feature_set: FeatureSetID, file: File, *, connection: Connection, as_json: AsJSON = False
) -> Coroutine[Any, Any, int]:
    """Take numbers off a feature set. FILE, the object of --json and the exit codes: see publish."""
    return _change("delist", feature_set, read_numbers(file), connection, as_json=as_json)


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


async def _change(
    change: Change, feature_set: str, numbers: list[str], connection: Connection, *, as_json: bool
) -> int:
    failure: VBCError | None = None
    async with connection.open() as vbc:
        try:
            with _named(feature_set, "FEATURE_SET"):
                result = await getattr(vbc.numbers, change)(feature_set, numbers)
        except NumbersRefusedError as error:
            failure, result = error, error.result
        except PartlyDoneError as error:
            failure, result = error, error.done
    words = None if failure is None else describe(failure)
    failed, unsent = getattr(failure, "failed", ()), getattr(failure, "unsent", ())
    has_stopped = isinstance(failure, PartlyDoneError)
    if as_json:
        print_json({"result": result, "failed": failed, "unsent": unsent, "error": words})
    else:
        _print(result)
        if has_stopped:
            typer.echo(f"{len(failed):,} numbers failed, and {len(unsent):,} were not sent")
    if words is not None:
        typer.echo(f"error: {words}", err=True)
    if has_stopped:
        return STOPPED
    return DONE if words is None and not result.not_done else IN_PART


def _print(result: NumbersResult) -> None:
    typer.echo(f"{result}")
    names = [field.name for field in attrs.fields(NumbersResult) if field.name != "status"]
    rows = [(it, name.replace("_", " ")) for name in names for it in sorted(getattr(result, name) & result.not_done)]
    if rows:
        print_table(("number", "was not taken"), rows)
