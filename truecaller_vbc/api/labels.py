"""List the labels of the account (`vbc.labels`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Final, cast

from .client import ApiClient, ApiRequest
from .lists import ListPage, as_params, pages
from .models import Label
from .responses import JSON, undocumented_response
from .wire import read_list

_PATH: Final = "/clients/{account}/labels"


class Labels:
    """List the labels of the account (API reference, "Details of Dynamic Label"). Labels are created in the console.

    Args:
        client: client that sends the requests.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def list(self) -> list[Label]:
        """Return all labels. A `CallRecord` takes the ``id`` of one whose ``label_type`` is ``dynamic``.

        Raises:
            APIError: the API refused it, with `ForbiddenError` where the API key lacks the feature.
            TokenError: no token could be had.
            aiohttp.ClientError: the API could not be reached; also TimeoutError.
        """
        return [label async for page in self.pages() for label in page]

    async def pages(self, *, limit: int | None = None) -> AsyncGenerator[tuple[Label, ...]]:
        """Yield the labels page by page.

        Args:
            limit: items per page; None for the server's default, which is 1,000 in the documents.

        Raises:
            APIError: as `list`.
            TokenError: as `list`.
            aiohttp.ClientError: as `list`.
        """
        async for page in pages(partial(self._page, limit), lambda label: label.id):
            yield cast(tuple[Label, ...], page)

    async def _page(self, limit: int | None, page: int | None) -> ListPage:
        answer: JSON = await self._client.send(
            ApiRequest("GET", _PATH, params=as_params({"limit": limit, "page": page}))
        )
        if not isinstance(answer, list):
            raise undocumented_response(200, "the answer is no list of labels")
        return ListPage(read_list(answer, Label))
