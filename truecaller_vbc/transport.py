"""A token on the wire: where it goes, and what happens to one that the API refuses."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, cast

import aiohttp
import attrs
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from .errors import ConfigurationError
from .token.holder import TokenHolder
from .token.model import AccessToken

_UNPARSABLE: Final = "Failed to parse token"
_PEEKABLE: Final = 64 * 1024
_AN_ERROR: Final = 400
_MERELY_MOVED: Final = frozenset({307, 308})


class RequestContext(Coroutine[Any, Any, aiohttp.ClientResponse]):
    """What `VBCSession.request` returns: to be used with ``async with`` or with ``await``, as aiohttp's own."""

    __slots__ = ("_coro", "_response")

    def __init__(self, coro: Coroutine[Any, Any, aiohttp.ClientResponse]) -> None:
        self._coro = coro

    def send(self, value: Any, /) -> Any:
        """Coroutine protocol."""
        return self._coro.send(value)

    def throw(self, *args: Any) -> Any:
        """Coroutine protocol."""
        return self._coro.throw(*args)

    def close(self) -> None:
        """Coroutine protocol."""
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, aiohttp.ClientResponse]:
        return self._coro.__await__()

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._response = await self._coro
        return await self._response.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._response.__aexit__(kind, error, traceback)


class Transport:
    """Sends requests with the holder's token, to one origin only.

    Args:
        holder: of the token.
        base_url: the origin that the token is for.
        usable: gives the session to send with, or raises why there is none here and now.
    """

    __slots__ = ("_holder", "_origin", "_prefix", "_usable")

    def __init__(self, holder: TokenHolder, base_url: URL, usable: Callable[[], aiohttp.ClientSession]) -> None:
        self._holder = holder
        self._usable = usable
        self._origin = base_url.origin()
        self._prefix = sys.intern(str(self._origin))  # one text for all sessions

    def url(self, path: str | URL) -> URL:
        """The URL of a path, or of a URL of our own origin.

        Raises:
            ConfigurationError: it leads to another origin, or carries credentials.
        """
        if type(path) is str and path[:1] == "/" != path[1:2]:
            return _joined(self._prefix, path)
        try:
            url = self._origin.join(URL(path))
            same = url.origin() == self._origin
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"a path such as '/clients/...' is needed, not {path!r}") from error
        if not same:
            raise ConfigurationError(
                f"{url.raw_host or path!r} is not {self._prefix}, and the token goes nowhere else: pass a path, and "
                "use a ClientSession of your own for other hosts"
            )
        if url.user is not None or url.password is not None:
            raise ConfigurationError("the URL carries credentials: leave them out, the session adds its token")
        return url

    async def request(self, method: str, path: str | URL, kwargs: dict[str, Any]) -> aiohttp.ClientResponse:
        """One request and, where its token turns out to be dead, one replay.

        Raises:
            SessionClosedError: there is no session to send it with.
            ConfigurationError: the path leads elsewhere; nothing was sent.
            TokenError: no token could be had, or none to replace a dead one.
        """
        http = self._usable()
        url = self.url(path)
        # Judged only after the replay: aiohttp would raise for the 401 that tells us of a dead token.
        judge = kwargs.pop("raise_for_status", None)
        judge = http.raise_for_status if judge is None else judge
        kwargs["raise_for_status"] = False
        headers = None
        if kwargs.get("headers") is not None:
            kwargs["headers"] = headers = CIMultiDict(kwargs["headers"])
        if (headers is not None and hdrs.AUTHORIZATION in headers) or kwargs.get("auth") is not None:
            response = await http.request(method, url, **kwargs)
        else:
            token = self._holder.fast_token or await _within(http, kwargs, self._holder.token)
            kwargs["headers"] = _with_token(headers, token)
            data = kwargs.get("data")
            if isinstance(data, aiohttp.FormData):
                # A form adds its parts anew at each call of it; made into a payload once, it has them once.
                kwargs["data"] = data = data()
            began = self._holder.loop_time()
            try:
                response = await http.request(method, url, **kwargs)
            except ValueError as error:
                if http.trust_env and "Cannot combine AUTHORIZATION" in str(error):
                    raise self._clash_with_netrc() from None
                raise
            if response.status < _AN_ERROR:
                self._holder.accepted(token)
            elif await self._to_be_replayed(response, token, data):
                response.release()
                token = await _within(http, kwargs, functools.partial(self._holder.replacement, token), began)
                kwargs["headers"] = _with_token(headers, token)
                response = await http.request(method, url, **kwargs)
                if response.status < _AN_ERROR:
                    self._holder.accepted(token)
        if judge:
            await _raise_for_status(response, judge)
        return response

    def _clash_with_netrc(self) -> ConfigurationError:
        return ConfigurationError(
            f"~/.netrc has an entry for {self._origin.host}, which a session with trust_env=True sends in the token's "
            "place: remove the entry, or pass an http= without trust_env"
        )

    async def middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The same for a `ClientSession` that the user keeps. aiohttp calls it on every hop of a redirect."""
        self._usable()
        if request.url.origin() != self._origin or hdrs.AUTHORIZATION in request.headers:
            return await handler(request)
        token = self._holder.fast_token or await self._holder.token()
        request.headers[hdrs.AUTHORIZATION] = token.authorization
        response = await handler(request)
        if not await self._to_be_replayed(response, token, request.body):
            return response
        response.release()
        replacement = await self._holder.replacement(token)
        request.headers[hdrs.AUTHORIZATION] = replacement.authorization
        response = await handler(request)
        if response.status < _AN_ERROR:
            self._holder.accepted(replacement)
        return response

    async def _to_be_replayed(self, response: aiohttp.ClientResponse, token: AccessToken, body: object) -> bool:
        """Whether to send the same again with another token. A dead token is dropped either way."""
        return (
            await self._refused(response, token)
            and self._holder.rejected(token)
            and resendable(body)
            and _is_still_the_request(response)
        )

    async def _refused(self, response: aiohttp.ClientResponse, token: AccessToken) -> bool:
        """Whether this answer means that the token is dead; if not, it has been accepted."""
        status = response.status
        if hdrs.AUTHORIZATION not in response.request_info.headers:
            return False  # after a redirect to another origin: the token was not sent, and nobody can have judged it
        if status == 401:  # noqa: PLR2004
            return True
        if status == 500:  # noqa: PLR2004
            return await _says_unparsable(response)
        if status < 500:  # noqa: PLR2004
            self._holder.accepted(token)
        return False


async def _within(
    http: aiohttp.ClientSession,
    kwargs: dict[str, Any],
    get: Callable[[], Awaitable[AccessToken]],
    began: float | None = None,
) -> AccessToken:
    """A token, within the caller's total timeout (counted from `began`), of which the request then has the rest."""
    timeout = kwargs.get("timeout", http.timeout)
    if not isinstance(timeout, aiohttp.ClientTimeout):
        timeout = aiohttp.ClientTimeout(total=timeout)
    if not timeout.total:
        return await get()
    clock = asyncio.get_running_loop().time
    end = (clock() if began is None else began) + timeout.total
    async with asyncio.timeout_at(end):
        token = await get()
    kwargs["timeout"] = attrs.evolve(timeout, total=max(end - clock(), 0.001))
    return token


@functools.lru_cache(maxsize=256)
def _joined(origin: str, path: str) -> URL:
    # A program asks for few paths and for each of them often, and yarl's own cache sees only a new text each time.
    return URL(origin + path)


def resendable(body: object) -> bool:
    """Whether a request body can be sent a second time as it was sent the first time."""
    match body:
        case None | str() | bytes() | bytearray() | memoryview() | aiohttp.BytesPayload():
            return True
        case aiohttp.MultipartWriter():
            return all(isinstance(part, aiohttp.BytesPayload) for part, _, _ in body)
        case Mapping():
            return all(isinstance(value, str | bytes) for value in cast(Mapping[Any, object], body).values())
        case Sequence():
            fields = cast(Sequence[object], body)
            return all(isinstance(field, Sequence) and isinstance(field[-1], str | bytes) for field in fields)
        case _:
            return False


def _is_still_the_request(response: aiohttp.ClientResponse) -> bool:
    """Whether all redirects so far only moved it; after another one (303) its first part has been done."""
    return all(hop.status in _MERELY_MOVED for hop in response.history)


def is_loopback(host: str) -> bool:
    """Whether a host name can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_token(headers: CIMultiDict[str] | None, token: AccessToken) -> Mapping[str, str]:
    if headers is None:
        return {hdrs.AUTHORIZATION: token.authorization}
    headers[hdrs.AUTHORIZATION] = token.authorization
    return headers


async def _says_unparsable(response: aiohttp.ClientResponse) -> bool:
    """The documented 500 of a dead token (API reference, "Error envelopes seen"). aiohttp keeps what is read."""
    length = response.content_length
    small = length is not None and length <= _PEEKABLE
    if not small and "json" not in response.content_type:
        return False
    return _UNPARSABLE in (await response.read()).decode("utf-8", "replace")


async def _raise_for_status(response: aiohttp.ClientResponse, judge: Any) -> None:
    try:
        if callable(judge):
            await cast(Callable[[aiohttp.ClientResponse], Awaitable[None]], judge)(response)
        else:
            response.raise_for_status()
    except BaseException:
        response.close()
        raise
