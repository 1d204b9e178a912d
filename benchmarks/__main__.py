"""Run all measurements: ``python benchmarks`` (extra ``dev`` and requirements.txt; about a quarter of an hour).

Writes tables and plots into ``benchmarks/results``. The long runs `million.py` and `fleet_week.py` start separately.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    for script in ("run.py", "profiles.py", "peers/run.py"):
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)  # noqa: S603
