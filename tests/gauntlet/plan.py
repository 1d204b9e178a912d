"""How long the gauntlet is, and the one command that plays a part of it again.

A normal test run has the short form. The long one::

    TRUECALLER_VBC_GAUNTLET_SEED=7 TRUECALLER_VBC_GAUNTLET_STEPS=100000 pytest tests/gauntlet -k virtual_worlds -s
    TRUECALLER_VBC_GAUNTLET_SECONDS=180 pytest tests/gauntlet -k real_processes -s

The first is in virtual time, and the same each time; the second is in real time with signals, and is not.
"""

from __future__ import annotations

import os
from typing import Final

import attrs

WORLD_STEPS: Final = 250
"""Steps in one world; the next world has other rules, and the next seed."""
_PREFIX: Final = "TRUECALLER_VBC_GAUNTLET_"


@attrs.frozen
class Plan:
    """Which worlds to play.

    Args:
        seed: of the first world; each next one has the next seed.
        steps: in all.
        seconds: of the real processes, which no seed repeats exactly.
    """

    seed: int
    steps: int
    seconds: float

    @classmethod
    def from_env(cls) -> Plan:
        """The short form, unless the environment says otherwise."""
        return cls(
            int(os.environ.get(f"{_PREFIX}SEED", "1")),
            int(os.environ.get(f"{_PREFIX}STEPS", "750")),
            float(os.environ.get(f"{_PREFIX}SECONDS", "2")),
        )

    def worlds(self) -> list[tuple[int, int]]:
        """Seed and steps of each world."""
        full, rest = divmod(self.steps, WORLD_STEPS)
        lengths = [WORLD_STEPS] * full + ([rest] if rest else [])
        return [(self.seed + number, length) for number, length in enumerate(lengths)]


def replay_command(seed: int, steps: int) -> str:
    """What plays one world again, up to the step at which it failed."""
    return f"{_PREFIX}SEED={seed} {_PREFIX}STEPS={steps} pytest tests/gauntlet -k virtual_worlds"
