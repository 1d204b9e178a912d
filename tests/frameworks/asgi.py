"""Call an ASGI application without a server."""

from __future__ import annotations

import json
from typing import Any


async def call(app: Any, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Send one request with a JSON body, and return the status and the JSON of the answer."""
    content = b"" if body is None else json.dumps(body).encode()
    requests = [{"type": "http.request", "body": content, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return requests.pop() if requests else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)), (b"host", b"test")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http"}
    place = {"path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers}
    await app({**scope, **place, "client": ("127.0.0.1", 1), "server": ("test", 80)}, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(answer or b"null")
