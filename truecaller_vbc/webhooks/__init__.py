"""Receive Truecaller's webhooks once: parse them, claim each event, and hand it to a handler.

::

    hooks = Receiver(key=os.environ["WEBHOOK_KEY"], seen="redis://localhost:6379/0")

    @hooks.on(CallMeBack)
    async def call_back(event: CallMeBack) -> None: ...

    app.router.add_post("/truecaller", hooks.aiohttp)  # aiohttp.web
    app.add_route("/truecaller", hooks.asgi, methods=["POST"])  # FastAPI, Starlette
"""

from .claims import ClaimState, MemoryClaims
from .events import CallMeBack, Event, UnknownEvent, UserFeedback, parse
from .receiver import Receiver
from .redis import RedisClaims
from .sqlite import SQLiteClaims

__all__ = [
    "CallMeBack",
    "ClaimState",
    "Event",
    "MemoryClaims",
    "Receiver",
    "RedisClaims",
    "SQLiteClaims",
    "UnknownEvent",
    "UserFeedback",
    "parse",
]
