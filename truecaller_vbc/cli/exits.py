"""How a command ends. 0 well, 1 and 4 the demo's verdict, 2 a setting is wrong, 3 no token, 130."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import typer


def quiet() -> None:
    """What goes wrong is told once, by the error line; the log would say it again, and tear the demo's table."""
    logging.getLogger("truecaller_vbc").addHandler(logging.NullHandler())


def leave(error: Exception, code: int) -> NoReturn:
    """Say what is wrong in one line, and leave."""
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)
