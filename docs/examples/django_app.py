"""List labels in a Django project, under ASGI and under WSGI."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from truecaller_vbc import VBCSession

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=os.urandom(16).hex())
session = VBCSession.from_env()


async def labels(request: HttpRequest) -> JsonResponse:
    return JsonResponse([label.to_dict() for label in await session.labels.list()], safe=False)


async def labels_of_wsgi(request: HttpRequest) -> JsonResponse:
    """Under WSGI each request has an event loop of its own, so it opens a session; the store keeps the token."""
    async with VBCSession.from_env(refresh="on_demand") as vbc:
        return JsonResponse([label.to_dict() for label in await vbc.labels.list()], safe=False)


async def asgi(scope, receive, send) -> None:
    """Under ASGI: keep one session from the server's start to its end. Django leaves these two messages to us."""
    if scope["type"] != "lifespan":
        return await django(scope, receive, send)
    await receive()
    async with session:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    return await send({"type": "lifespan.shutdown.complete"})


urlpatterns = [path("labels", labels), path("wsgi/labels", labels_of_wsgi)]
django, wsgi = get_asgi_application(), get_wsgi_application()
