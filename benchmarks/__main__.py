"""Run all measurements with ``python benchmarks``, in about a quarter of an hour (see `benchmarks/__init__.py`).

Writes tables and plots into ``benchmarks/results``. The long runs `million.py`, `fleet_week.py` and `short_scripts.py`
start separately.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    for script in ("run.py", "profiles.py", "peers/run.py"):
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)  # noqa: S603
