"""``webhooks listen`` and ``webhooks send``, as processes."""

from __future__ import annotations

import signal

import pytest

from .cli_process import end, run, start
from .cli_runner import invoke

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("raw", [False, True])
async def test_send_to_listen(raw: bool) -> None:
    """What one sends, the other prints once; numbers are masked unless asked for."""
    listening = await start(None, "webhooks", "listen", "--port", "0", *(["--raw"] if raw else []))
    assert listening.stdout is not None
    url = (await listening.stdout.readline()).decode().partition("URL: ")[2].strip()
    sent = await run(None, "webhooks", "send", url, "--times", "2")
    wrong = await run(None, "webhooks", "send", f"{url}x")
    listening.send_signal(signal.SIGINT)
    ended = await end(listening)

    lines = ended.out.splitlines()
    assert (sent.code, sent.out.strip().endswith(": 200, 200")) == (0, True)
    assert (wrong.code, wrong.out.strip().endswith(": 403")) == (3, True)
    assert len(lines) == 1
    assert ("911234567890" in lines[0]) is raw
    assert ended.code == 0


def test_port_that_is_taken() -> None:
    """A port that is taken is one line of error."""
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = invoke(None, "webhooks", "listen", "--port", str(taken.getsockname()[1]))

    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "--port" in ended.err
