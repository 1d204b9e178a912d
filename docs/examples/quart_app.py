"""List labels in a Quart application."""

from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, current_app

from truecaller_vbc import VBCSession

app = Quart(__name__)


@app.while_serving
async def vbc() -> AsyncIterator[None]:
    async with VBCSession.from_env() as session:
        app.extensions["vbc"] = session
        yield


@app.get("/labels")
async def labels() -> list[dict[str, Any]]:
    return [label.to_dict() for label in await current_app.extensions["vbc"].labels.list()]
