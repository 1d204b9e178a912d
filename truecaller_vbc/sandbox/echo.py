"""``/clients/{id}/echo``, for tests, and the answer where there is no endpoint."""

from __future__ import annotations

import hashlib

from aiohttp import web

from .answers import json_answer, refusal


async def echo(request: web.Request) -> web.Response:
    """What was sent: method, headers, query, and the body's length and SHA-256."""
    body = await request.read()
    headers = {name: "***" if name.lower() == "authorization" else value for name, value in request.headers.items()}
    return json_answer(
        {
            "method": request.method,
            "headers": headers,
            "query": dict(request.query),
            "content_type": request.headers.get("Content-Type"),
            "body_length": len(body),
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
    )


async def unknown(request: web.Request) -> web.Response:
    """Any path or method that no other endpoint takes; the deprecated v1 endpoints are among them."""
    return refusal(404, f"no endpoint for {request.method} {request.path}")
