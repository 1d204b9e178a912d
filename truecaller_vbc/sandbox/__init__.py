"""Run a local server that keeps Truecaller's documented rules, for demos and tests.

::

    async with Sandbox(SandboxRules(token_lifetime=3.0)) as sandbox:
        ...  # point a client at sandbox.base_url with sandbox.credentials

Written from the documents alone and independent of the client, so that one mistake cannot hide another. What the
documents leave open is a switch of `SandboxRules` or `ApiRules`; failures are injected as faults.
"""

from .faults import Drop, Endpoint, Fault, FaultOptions
from .records import RequestRecord
from .rules import ApiRules, SandboxRules
from .server import Sandbox
from .webhooks import WebhookDelivery, WebhookRules, send_webhooks, webhook_event, webhook_variants

__all__ = [
    "ApiRules",
    "Drop",
    "Endpoint",
    "Fault",
    "FaultOptions",
    "RequestRecord",
    "Sandbox",
    "SandboxRules",
    "WebhookDelivery",
    "WebhookRules",
    "send_webhooks",
    "webhook_event",
    "webhook_variants",
]
