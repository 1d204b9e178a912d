"""List labels in a Litestar application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, get
from litestar.datastructures import State

from truecaller_vbc import Label, VBCSession


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with VBCSession.from_env() as app.state.vbc:
        yield


@get("/labels")
async def labels(state: State) -> list[Label]:
    return await state.vbc.labels.list()


app = Litestar([labels], lifespan=[lifespan])
