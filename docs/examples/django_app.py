"""List labels in a Django project, under ASGI and under WSGI."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from truecaller_vbc import VBCSession

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY=os.urandom(16).hex())
session: VBCSession | None = None


async def labels(request: HttpRequest) -> JsonResponse:
    """Under ASGI: one session for the life of the process, opened by the first request."""
    global session
    if session is None:
        session = VBCSession.from_env()
        await session.open()
    return JsonResponse([label.to_dict() for label in await session.labels.list()], safe=False)


async def labels_of_wsgi(request: HttpRequest) -> JsonResponse:
    """Under WSGI each request has an event loop of its own, so it opens a session; the store keeps the token."""
    async with VBCSession.from_env(refresh="on_demand") as vbc:
        return JsonResponse([label.to_dict() for label in await vbc.labels.list()], safe=False)


urlpatterns = [path("labels", labels), path("wsgi/labels", labels_of_wsgi)]
asgi = get_asgi_application()
wsgi = get_wsgi_application()
