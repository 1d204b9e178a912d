"""List the labels of the account (`vbc.labels`)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator
from functools import partial
from typing import Unpack, cast

from .client import LABELS, ApiClient, ApiRequest
from .lists import ListPage, Numbering, as_params, pages
from .models import Label
from .policy import CallOptions
from .responses import JSON
from .wire import is_list_of, read_list


class Labels:
    """List the labels of the account (API reference, "Details of Dynamic Label"). Labels are created in the console.

    Args:
        client: client that sends the requests.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._numbering = Numbering()

    async def list(self, **options: Unpack[CallOptions]) -> builtins.list[Label]:
        """Return all labels. A `CallRecord` takes the ``id`` of one whose ``label_type`` is ``dynamic``.

        Args:
            options: ``timeout=`` and ``attempts=`` of each page, as in `Calls.push`.

        Raises:
            APIError: the API refused it, with `ForbiddenError` where the API key lacks the feature.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        return [label async for page in self.pages(**options) for label in page]

    async def pages(
        self, *, limit: int | None = None, **options: Unpack[CallOptions]
    ) -> AsyncGenerator[tuple[Label, ...]]:
        """Yield the labels page by page.

        Args:
            limit: items per page; None for the server's default, which is 1,000 in the documents.
            options: as in `list`.

        Raises:
            APIError: as `list`.
            TokenError: as `list`.
            APIConnectionError: as `list`.
        """
        async for page in pages(partial(self._page, limit, options), lambda label: label.id, self._numbering):
            yield cast(tuple[Label, ...], page)

    async def _page(self, limit: int | None, options: CallOptions, page: int | None) -> ListPage:
        policy = self._client.policy_for(options)
        query = as_params({"limit": limit, "page": page})
        return await self._client.send(
            ApiRequest("GET", LABELS, _read_page, params=query, call="labels.list", policy=policy)
        )


def _read_page(answer: JSON) -> ListPage | None:
    return ListPage(read_list(answer, Label)) if is_list_of(answer, "id", "name") else None
