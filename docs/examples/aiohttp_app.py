"""List labels in an aiohttp.web application."""

import sys
from collections.abc import AsyncIterator

from aiohttp import web

from truecaller_vbc import VBCSession

VBC = web.AppKey("vbc", VBCSession)


async def open_session(app: web.Application) -> AsyncIterator[None]:
    async with VBCSession.from_env() as app[VBC]:
        yield


async def labels(request: web.Request) -> web.Response:
    return web.json_response([label.to_dict() for label in await request.app[VBC].labels.list()])


app = web.Application()
app.cleanup_ctx.append(open_session)
app.router.add_get("/labels", labels)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 8000)
