"""All that is measured, in one run of a quarter of an hour: ``python benchmarks`` (extras ``dev`` and ``bench``).

Writes tables and plots into ``benchmarks/results``. The heavy proofs run by themselves: `million.py`, `fleet_week.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    for script in ("run.py", "profiles.py", "peers/run.py"):
        subprocess.run([sys.executable, str(Path(__file__).parent / script)], check=True)  # noqa: S603
