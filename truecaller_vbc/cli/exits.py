"""How a command ends. 0 well, 1 and 4 the demo's verdict, 2 a setting is wrong, 3 no token, 130."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer

from ..errors import ConfigurationError, StoreError, TokenError


def quiet() -> None:
    """What goes wrong is told once, by the error line; the log would say it again, and tear the demo's table."""
    logging.getLogger("truecaller_vbc").addHandler(logging.NullHandler())


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a command to its exit code; an error of ours becomes one line and leaves."""
    quiet()
    try:
        return asyncio.run(main)
    except (ConfigurationError, StoreError) as error:
        leave(error, 2)
    except TokenError as error:
        leave(error, 3)
    except KeyboardInterrupt:
        sys.exit(130)


def leave(error: Exception, code: int) -> NoReturn:
    """Say what is wrong in one line, and leave."""
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)
