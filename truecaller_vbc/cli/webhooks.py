"""Send webhooks to a receiver, and listen for them."""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import Annotated

import typer
from aiohttp import web

from ..sandbox import WebhookRules, send_webhooks, webhook_event
from ..webhooks import Event, Receiver
from .failures import DONE, STOPPED, port_in_use
from .options import with_options

_KEY = "TRUECALLER_VBC_WEBHOOK_KEY"
app: typer.Typer = typer.Typer(no_args_is_help=True, help="Send webhooks to your receiver, or listen for them.")


@app.command()
@with_options
async def send(
    url: Annotated[str, typer.Argument(help="Of your receiver, with its key.")],
    *,
    event: Annotated[str, typer.Option(help="cmb, user_feedback, or any other type.")] = "cmb",
    times: Annotated[int, typer.Option(min=1, help="How often the same event is sent.")] = 1,
) -> int:
    """Send a new event once, without retries.

    Exit codes: 0 answered with 200 and JSON, as Truecaller wants it; 3 not.
    """
    rules = WebhookRules(retries=(), duplicates=times - 1)
    [delivery] = await send_webhooks(url, [webhook_event(event)], rules)
    typer.echo(f"event {delivery.event_id}: {', '.join(str(status or 'no answer') for status in delivery.statuses)}")
    return DONE if delivery.state == "delivered" else STOPPED


@app.command()
@with_options
def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8788,
    raw: Annotated[bool, typer.Option("--raw", help="The JSON as it came, with whole phone numbers.")] = False,
) -> None:
    """Print each event once, as a line, until Ctrl-C; numbers are masked. Listens on loopback only.

    The key is that of TRUECALLER_VBC_WEBHOOK_KEY, or a new one, which is printed.
    """

    async def show(event: Event) -> None:
        typer.echo(json.dumps(event.raw) if raw else repr(event))

    key = os.environ.get(_KEY) or secrets.token_urlsafe(16)
    server = web.Application()
    server.router.add_post("/", Receiver(show, key=key).aiohttp)
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise port_in_use(port, error) from None
    shown = f"(the one of {_KEY})" if _KEY in os.environ else key
    typer.echo(f"# Listening. URL: http://127.0.0.1:{listener.getsockname()[1]}/?key={shown}")
    web.run_app(server, sock=listener, access_log=None, print=None)
