"""Where the time goes, before and after: ``python benchmarks/profiles.py`` (extra ``dev``; a clone with its history).

Each path runs under cProfile in a process of its own, with the library as it is and as it was at an earlier commit,
against one server. The count of function calls hardly differs from run to run; the seconds are those of a profiled run,
which is slower, and serve to compare. Writes ``benchmarks/results/DATE-profiles.md``.
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
from report import RESULTS, keep, today
from server import Server, call_record, server

HERE: Final = Path(__file__).parent
LIBRARY: Final = "truecaller_vbc"
OPERATIONS: Final = 2000
ROUNDS: Final = 5
MOST: Final = 8
BEFORE: Final = {"token": "476b3d1", "post": "476b3d1", "push": "7aa6d10"}
"""The commits that first had each path."""
TITLES: Final = {
    "token": "`await vbc.token()`, fresh",
    "post": "`vbc.post(path, json=record)` and its answer's body",
    "push": "`await vbc.calls.push(CallRecord(...))`",
    "bare": "bare aiohttp: the same POST with a static header",
}


@attrs.frozen
class Profile:
    """One path of one library, for each operation.

    Args:
        calls: of functions, in all that ran.
        ours: of functions of the library.
        seconds: that the library's own functions took themselves.
        slowest: its functions by the time that each took itself: name, calls, seconds.
        below: the seconds of all others.
    """

    calls: float
    ours: float
    seconds: float
    slowest: list[tuple[str, float, float]]
    below: float


def tree(commit: str, into: Path) -> Path:
    """The library as it was at `commit`.

    Raises:
        SystemExit: the commit is not here.
    """
    packed = subprocess.run(  # noqa: S603
        ["git", "-C", str(HERE.parent), "archive", commit, LIBRARY],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        raise SystemExit(f"commit {commit} is needed: this must be a clone with its history (git fetch --unshallow)")
    where = into / commit
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(where, filter="data")
    return where


def profiled(path: str, library: Path, there: Server) -> Profile:
    """Run one path with the library in this folder."""
    credentials = there.credentials
    given = {
        "base_url": there.base_url,
        "credentials": [credentials.client_account_id, credentials.key_id, str(credentials.api_key)],
        "record": call_record(),
    }
    child = subprocess.run(  # noqa: S603
        [sys.executable, str(HERE / "profiled.py"), path, str(OPERATIONS)],
        input=json.dumps(given),
        env=os.environ | {"PYTHONPATH": str(library)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    calls: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    whole, below = 0, 0.0
    for file, name, count, own in json.loads(child.stdout):
        whole += count
        if f"/{LIBRARY}/" in file:
            place = f"{file.rpartition(f'/{LIBRARY}/')[2]}: {name}"
            calls[place] += count
            seconds[place] += own
        else:
            below += own
    slowest = [(place, calls[place] / OPERATIONS, own / OPERATIONS) for place, own in seconds.most_common(MOST)]
    return Profile(
        whole / OPERATIONS, calls.total() / OPERATIONS, seconds.total() / OPERATIONS, slowest, below / OPERATIONS
    )


def keep_faster(kept: dict[str, Profile], path: str, one: Profile) -> None:
    """Of several runs, the one that the machine disturbed least."""
    if path not in kept or one.seconds + one.below < kept[path].seconds + kept[path].below:
        kept[path] = one


def page(now: dict[str, Profile], before: dict[str, Profile]) -> str:
    """The whole page."""
    lines = [
        "# Where the time goes",
        "",
        f"{today()}, CPython {sys.version.split()[0]}, `python benchmarks/profiles.py`.",
        f"{OPERATIONS:,} operations, one after the other, under cProfile, with the library of now and with that of the",
        "commit that is named: the same script, the same server. Function calls hardly differ from run to run,",
        f"those of built-in functions included; microseconds are of the fastest of {ROUNDS} profiled runs in turn.",
        "",
        "| path | before | calls before | calls now | ours before | ours now | own time before | own time now |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path, title in TITLES.items():
        new, old = now[path], before.get(path)
        if old is None:
            lines.append(f"| {title} | | | {new.calls:.1f} | | | | |")
        else:
            lines.append(
                f"| {title} | `{BEFORE[path]}` | {old.calls:.1f} | {new.calls:.1f} | {old.ours:.1f} | {new.ours:.1f} "
                f"| {old.seconds * 1e6:.1f} us | {new.seconds * 1e6:.1f} us |"
            )
    for path in BEFORE:
        lines += [
            "",
            f"## {TITLES[path]}",
            "",
            f"All below the library, aiohttp and the loop among it: {now[path].below * 1e6:.1f} us of each operation.",
            "",
            "| ours, now | calls | own time |",
            "|---|---|---|",
            *(f"| `{place}` | {calls:.2f} | {own * 1e6:.2f} us |" for place, calls, own in now[path].slowest),
        ]
    return "\n".join(lines) + "\n"


def main(out: Path) -> str:
    """Profile everything, and write the page."""
    with tempfile.TemporaryDirectory() as folder, server(max_mints=1000) as there:
        trees = {commit: tree(commit, Path(folder)) for commit in sorted(set(BEFORE.values()))}
        before: dict[str, Profile] = {}
        now: dict[str, Profile] = {}
        for _ in range(ROUNDS):
            for path in TITLES:
                if path in BEFORE:
                    keep_faster(before, path, profiled(path, trees[BEFORE[path]], there))
                keep_faster(now, path, profiled(path, HERE.parent, there))
    text = page(now, before)
    keep("profiles", text, out)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder to write into")
    print(main(parser.parse_args().out))
