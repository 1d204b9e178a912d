"""Run the command line ``truecaller-vbc``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without the extra ``cli``, say how to install it."""
    try:
        from .app import app  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.stderr.write("error: the command line needs typer and rich: pip install 'truecaller_vbc[cli]'\n")
        sys.exit(2)
    app()
