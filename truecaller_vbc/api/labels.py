"""`vbc.labels`: the labels of the account."""

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
    """The labels of the account (API reference, "Details of Dynamic Label"). They are made in the console.

    Args:
        client: to send with.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def list(self) -> list[Label]:
        """All labels; a `CallRecord` takes the ``id`` of one whose ``label_type`` is ``dynamic``.

        Raises:
            APIError: it was refused: `ForbiddenError` where the API key lacks the feature.
            TokenError: there is no token.
            aiohttp.ClientError: the API could not be reached; also TimeoutError.
        """
        return [label async for page in self.pages() for label in page]

    async def pages(self, *, limit: int | None = None) -> AsyncGenerator[tuple[Label, ...]]:
        """The labels page by page.

        Args:
            limit: how many a page has; None for what the server does, 1,000 by the documents.

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
