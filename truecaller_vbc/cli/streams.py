"""Handle standard streams that may be closed, a broken pipe, or a full disk."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from typing import BinaryIO, TextIO

import typer

from ..errors import ConfigurationError


def standard_input() -> BinaryIO:
    """Return standard input as a binary stream.

    Raises:
        ConfigurationError: standard input is closed, as for some daemons.
    """
    stdin: TextIO | None = sys.stdin
    if stdin is None:
        raise ConfigurationError("there is no standard input to read - from: give a FILE")
    return stdin.buffer


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal. It is None for some daemons."""
    return stream is not None and stream.isatty()


@contextlib.contextmanager
def tolerate_broken_pipe() -> Generator[None]:
    """Ignore a closed stdout or stderr inside the block, so that the exit code stays the same."""
    try:
        yield
    except BrokenPipeError:
        pass  # for example ``| head``
    except OSError as error:
        with contextlib.suppress(OSError):
            typer.echo(f"error: how it ended cannot be printed ({error.strerror})", err=True)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


def _flush(stream: TextIO | None) -> None:
    """Flush a stream; if that fails, redirect it, so that Python's own flush at exit does not fail."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
