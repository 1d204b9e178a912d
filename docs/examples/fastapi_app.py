"""Announce calls from a FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from truecaller_vbc import CallRecord, Label, NotDeliveredError, PushResult, VBCSession


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with VBCSession.from_env() as app.state.vbc:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/labels")
async def labels(request: Request) -> list[Label]:
    return await request.app.state.vbc.labels.list()


@app.post("/announcements")
async def announce(request: Request, record: CallRecord) -> PushResult:
    try:
        return await request.app.state.vbc.calls.push(record)
    except NotDeliveredError as error:
        raise HTTPException(404, error.reason) from error
