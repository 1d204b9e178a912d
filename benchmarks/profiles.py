"""Compare function calls with those of earlier commits (extra ``dev``; a clone with history).

    python benchmarks/profiles.py [--quick]

Each operation runs under cProfile in a process of its own, with the library of now and of an earlier commit, against
one sandbox. Function calls hardly differ between runs. A profiled run is slower than a normal one, so its times only
serve to compare. Writes ``benchmarks/results/DATE-profiles.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import attrs

from benchmarks.report import RESULTS, today, write_page
from benchmarks.sandboxes import RemoteSandbox, call_record, sandbox_process

HERE: Final = Path(__file__).parent
LIBRARY: Final = "truecaller_vbc"
TIMES: Final = 2000
ROUNDS: Final = 5
TOP: Final = 8
BEFORE: Final = {"token": "476b3d1", "post": "476b3d1", "push": "7aa6d10"}
"""The first commits that had each operation."""
TITLES: Final = {
    "token": "`await vbc.token()`, fresh",
    "post": "`vbc.post(path, json=record)` and its answer's body",
    "push": "`await vbc.calls.push(CallRecord(...))`",
    "bare": "bare aiohttp: the same POST with a static header",
}


@attrs.frozen
class Profile:
    """One operation of one version; all figures are per operation.

    Args:
        all_calls: function calls.
        own_calls: calls of functions of the library.
        own_seconds: time spent in functions of the library, without what they call.
        other_seconds: time spent in all other functions.
        slowest: functions of the library by their own time, as (name, calls, seconds).
    """

    all_calls: float
    own_calls: float
    own_seconds: float
    other_seconds: float
    slowest: list[tuple[str, float, float]]


def extract(commit: str, folder: Path) -> Path:
    """Write the library of `commit` into a subfolder and return it.

    Raises:
        SystemExit: this clone does not have the commit.
    """
    packed = subprocess.run(  # noqa: S603
        ["git", "-C", str(HERE.parent), "archive", commit, LIBRARY],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        raise SystemExit(f"commit {commit} is missing in this clone: fetch the whole history (git fetch --unshallow)")
    target = folder / commit
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target


def profile(operation: str, library: Path, sandbox: RemoteSandbox, times: int) -> Profile:
    """Run one operation with the library in this folder."""
    key = sandbox.credentials
    task = {
        "base_url": sandbox.base_url,
        "credentials": [key.client_account_id, key.key_id, str(key.api_key)],
        "record": call_record(),
    }
    child = subprocess.run(  # noqa: S603
        [sys.executable, str(HERE / "profiled.py"), operation, str(times)],
        input=json.dumps(task),
        env=os.environ | {"PYTHONPATH": str(library)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    calls: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    all_calls, other_seconds = 0, 0.0
    for file, function, count, own in json.loads(child.stdout):
        all_calls += count
        if f"/{LIBRARY}/" in file:
            name = f"{file.rpartition(f'/{LIBRARY}/')[2]}: {function}"
            calls[name] += count
            seconds[name] += own
        else:
            other_seconds += own
    slowest = [(name, calls[name] / times, own / times) for name, own in seconds.most_common(TOP)]
    return Profile(all_calls / times, calls.total() / times, seconds.total() / times, other_seconds / times, slowest)


def keep_faster(profiles: dict[str, Profile], operation: str, new: Profile) -> None:
    """Keep the faster of two runs, which other processes disturbed less."""
    old = profiles.get(operation)
    if old is None or new.own_seconds + new.other_seconds < old.own_seconds + old.other_seconds:
        profiles[operation] = new


def profiles_page(now: dict[str, Profile], before: dict[str, Profile], *, times: int, rounds: int) -> str:
    """Return the whole page."""
    lines = [
        "# Where the time goes",
        "",
        f"{today()}, CPython {sys.version.split()[0]}, `python benchmarks/profiles.py`.",
        f"{times:,} operations, one after the other, under cProfile, with the library of now and of an earlier commit:",
        "the same script, the same server. Function calls hardly differ between runs and include built-in functions;",
        f"microseconds are of the fastest of {rounds} profiled runs in turn.",
        "",
        "| operation | before | calls before | calls now | ours before | ours now | own time before | own time now |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for operation, title in TITLES.items():
        new, old = now[operation], before.get(operation)
        if old is None:
            lines.append(f"| {title} | | | {new.all_calls:.1f} | | | | |")
        else:
            lines.append(
                f"| {title} | `{BEFORE[operation]}` | {old.all_calls:.1f} | {new.all_calls:.1f} "
                f"| {old.own_calls:.1f} | {new.own_calls:.1f} "
                f"| {old.own_seconds * 1e6:.1f} us | {new.own_seconds * 1e6:.1f} us |"
            )
    for operation in BEFORE:
        new = now[operation]
        lines += [
            "",
            f"## {TITLES[operation]}",
            "",
            f"All other functions, those of aiohttp and the loop included: {new.other_seconds * 1e6:.1f} us.",
            "",
            "| ours, now | calls | own time |",
            "|---|---|---|",
            *(f"| `{name}` | {calls:.2f} | {own * 1e6:.2f} us |" for name, calls, own in new.slowest),
        ]
    return "\n".join(lines) + "\n"


def main(folder: Path | None, *, times: int, rounds: int) -> str:
    """Profile all operations, write the page into `folder` if there is one, and return it."""
    before: dict[str, Profile] = {}
    now: dict[str, Profile] = {}
    with tempfile.TemporaryDirectory() as scratch, sandbox_process(max_mints=1000) as sandbox:
        libraries = {commit: extract(commit, Path(scratch)) for commit in sorted(set(BEFORE.values()))}
        for _ in range(rounds):
            for operation in TITLES:
                if operation in BEFORE:
                    library = libraries[BEFORE[operation]]
                    keep_faster(before, operation, profile(operation, library, sandbox, times))
                keep_faster(now, operation, profile(operation, HERE.parent, sandbox, times))
    page = profiles_page(now, before, times=times, rounds=rounds)
    if folder is not None:
        write_page("profiles", page, folder)
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round; writes a page only with --out")
    parser.add_argument("--out", type=Path, help="folder of the page; benchmarks/results after a whole run")
    options = parser.parse_args()
    if options.quick:
        print(main(options.out, times=200, rounds=1))
    else:
        print(main(options.out or RESULTS, times=TIMES, rounds=ROUNDS))
