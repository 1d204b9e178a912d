"""The standard streams, which may be closed, a pipe that nobody reads, or a disk that is full."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator
from typing import BinaryIO, TextIO

import typer

from ..errors import ConfigurationError


def standard_input() -> BinaryIO:
    """Its bytes.

    Raises:
        ConfigurationError: there is none, as a daemon may have been started.
    """
    stdin: TextIO | None = sys.stdin
    if stdin is None:
        raise ConfigurationError("there is no standard input to read - from: give a FILE")
    return stdin.buffer


def is_terminal(stream: TextIO | None) -> bool:
    """Whether people look at it. A daemon may have been started without one."""
    return stream is not None and stream.isatty()


@contextlib.contextmanager
def told() -> Generator[None]:
    """What is told in the block may find nobody to read it: that changes nothing of what was done, or the exit code."""
    try:
        yield
    except BrokenPipeError:
        pass  # as `| head` does
    except OSError as error:
        with contextlib.suppress(OSError):
            typer.echo(f"error: how it ended cannot be printed ({error.strerror})", err=True)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _let_go(stream)


def _let_go(stream: TextIO | None) -> None:
    """What is left in a stream that nobody reads must not fail once more when Python ends."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
