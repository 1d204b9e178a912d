"""Send requests with the token, to one origin only, and replay them once if the API rejects the token."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, cast

import aiohttp
import attrs
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from .errors import ConfigurationError, SessionClosedError
from .token.holder import TokenHolder
from .token.model import AccessToken

PARSE_FAILURE: Final = "Failed to parse token"
"""The server's message for a dead token (API reference, "Error envelopes seen")."""

_MAX_ERROR_BODY: Final = 64 * 1024
_STEP: Final = 4096
_MAX_LOOK: Final = 2.0
_FIRST_ERROR_STATUS: Final = 400
_FIRST_SERVER_ERROR: Final = 500
_KEEPS_METHOD_AND_BODY: Final = frozenset({307, 308})


class RequestContext(Coroutine[Any, Any, aiohttp.ClientResponse]):
    """The result of `VBCSession.request`, for ``async with`` or ``await`` like that of aiohttp."""

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
        usable: returns the aiohttp session, or raises if the `VBCSession` cannot be used here and now.
    """

    __slots__ = ("_holder", "_origin", "_prefix", "_usable")

    def __init__(self, holder: TokenHolder, base_url: URL, usable: Callable[[], aiohttp.ClientSession]) -> None:
        self._holder = holder
        self._usable = usable
        self._origin = base_url.origin()
        self._prefix = sys.intern(str(self._origin))  # one string for all sessions

    def url(self, path: str | URL) -> URL:
        """Return the URL of a path, or a URL of our origin.

        Raises:
            ConfigurationError: it leads to another origin, or contains credentials.
        """
        if type(path) is str and path[:1] == "/" != path[1:2]:
            return _joined(self._prefix, path)
        try:
            url = self._origin.join(URL(path))
            same = url.origin() == self._origin
        except (ValueError, TypeError, IndexError) as error:
            raise ConfigurationError(f"a path such as '/clients/...' is needed, not {path!r}") from error
        if not same:
            raise ConfigurationError(
                f"{url.raw_host or path!r} is not {self._prefix}, and the token goes nowhere else: pass a path, and "
                "use a ClientSession of your own for other hosts"
            )
        if url.user is not None or url.password is not None:
            raise ConfigurationError("the URL carries credentials: leave them out, the session adds its token")
        return url

    async def request(
        self, method: str, path: str | URL, kwargs: Any, given: AccessToken | None = None
    ) -> aiohttp.ClientResponse:
        """Send a request, and replay it once if its token turns out to be dead.

        Args:
            method: such as ``"GET"``.
            path: below the origin.
            kwargs: those of aiohttp.
            given: a token of a pool to be sent; None for the current one.

        Raises:
            SessionClosedError: the session is not open here.
            ConfigurationError: the path leads elsewhere; nothing was sent.
            TokenError: no token was obtained, or no replacement for a dead one.
        """
        http = self._usable()
        url = self.url(path)
        # Applied after the replay: aiohttp would raise for the 401 of a dead token.
        check = kwargs.pop("raise_for_status", None)
        check = http.raise_for_status if check is None else check
        kwargs["raise_for_status"] = False
        headers = None
        if kwargs.get("headers") is not None:
            kwargs["headers"] = headers = CIMultiDict(kwargs["headers"])
        if (headers is not None and hdrs.AUTHORIZATION in headers) or kwargs.get("auth") is not None:
            response = await http.request(method, url, **kwargs)
        else:
            token = given or self._holder.fast_token or await _within(http, kwargs, self._holder.token)
            kwargs["headers"] = _with_token(headers, token)
            data = kwargs.get("data")
            if isinstance(data, aiohttp.FormData):
                # Convert a form only once: it adds its parts again each time it is converted.
                kwargs["data"] = data = data()
            began = self._holder.loop.time()
            try:
                response = await http.request(method, url, **kwargs)
            except ValueError as error:
                if http.trust_env and "Cannot combine AUTHORIZATION" in str(error):
                    raise self._clash_with_netrc() from None
                raise
            if response.status < _FIRST_ERROR_STATUS:
                self._holder.accepted(token, began)
            elif await self._should_replay(response, token, data):

                async def send_again(rejected: AccessToken) -> tuple[aiohttp.ClientResponse, AccessToken]:
                    other = await _within(http, kwargs, functools.partial(self._holder.replacement, rejected), began)
                    kwargs["headers"] = _with_token(headers, other)
                    return await http.request(method, url, **kwargs), other

                response = await self._replay(response, token, send_again)
        if check:
            await _raise_for_status(response, check)
        return response

    def _clash_with_netrc(self) -> ConfigurationError:
        return ConfigurationError(
            f"~/.netrc has an entry for {self._origin.host}, which a session with trust_env=True sends in the token's "
            "place: remove the entry, or pass an http= without trust_env"
        )

    async def middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Do the same as a middleware of the user's `ClientSession`. aiohttp calls it on every hop of a redirect."""
        self._usable()
        if request.url.origin() != self._origin or hdrs.AUTHORIZATION in request.headers:
            return await handler(request)
        token = self._holder.fast_token or await self._holder.token()
        request.headers[hdrs.AUTHORIZATION] = token.authorization
        response = await handler(request)
        if not await self._should_replay(response, token, request.body):
            return response

        async def send_again(rejected: AccessToken) -> tuple[aiohttp.ClientResponse, AccessToken]:
            other = await self._holder.replacement(rejected)
            request.headers[hdrs.AUTHORIZATION] = other.authorization
            return await handler(request), other

        return await self._replay(response, token, send_again)

    async def _replay(
        self,
        response: aiohttp.ClientResponse,
        rejected: AccessToken,
        send_again: Callable[[AccessToken], Awaitable[tuple[aiohttp.ClientResponse, AccessToken]]],
    ) -> aiohttp.ClientResponse:
        """Send a request again with another token than the rejected one, at most twice, and return the response."""
        response.release()
        response, token = await send_again(rejected)
        if await self._should_replay_again(response, rejected, token):
            response.release()
            response, last = await send_again(token)
            await self._should_replay_again(response, token, last)
        return response

    async def _should_replay_again(
        self, response: aiohttp.ClientResponse, rejected: AccessToken, token: AccessToken
    ) -> bool:
        """Note what the API says of the token of a replay. Return whether to send the request once more."""
        with _closed_on_error(response):
            if response.status < _FIRST_ERROR_STATUS:
                self._holder.accepted(token)
            elif await self._is_dead_token(response, token):
                return await self._holder.replacement_rejected(rejected, token)
        if response.status < _FIRST_SERVER_ERROR:
            self._holder.replacement_accepted(rejected, token)
        return False

    async def _should_replay(self, response: aiohttp.ClientResponse, token: AccessToken, body: object) -> bool:
        """Return whether to send the request again with another token. A dead token is dropped either way."""
        with _closed_on_error(response):
            return (
                await self._is_dead_token(response, token)
                and await self._holder.rejected(token)
                and resendable(body)
                and _is_unchanged_request(response)
            )

    async def _is_dead_token(self, response: aiohttp.ClientResponse, token: AccessToken) -> bool:
        """Return whether this answer means that the token is dead. If not, note that it was accepted."""
        status = response.status
        if hdrs.AUTHORIZATION not in response.request_info.headers:
            return False  # after a redirect to another origin, the token was not sent
        if status == 401:  # noqa: PLR2004
            return True
        if status == _FIRST_SERVER_ERROR:
            return await _has_dead_token_message(response)
        if status < _FIRST_SERVER_ERROR:
            self._holder.accepted(token)
        return False


async def _within(
    http: aiohttp.ClientSession,
    kwargs: dict[str, Any],
    get: Callable[[], Awaitable[AccessToken]],
    began: float | None = None,
) -> AccessToken:
    """Get a token within the caller's total timeout (counted from `began`), and leave the rest to the request."""
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
    # Programs use few paths, each often; yarl's own cache does not help, since `origin + path` is a new string.
    return URL(origin + path)


def resendable(body: object) -> bool:
    """Return whether a request body can be sent a second time."""
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


def _is_unchanged_request(response: aiohttp.ClientResponse) -> bool:
    """Return whether all redirects kept the request as it was; after others (303) it has been done in part."""
    return all(hop.status in _KEEPS_METHOD_AND_BODY for hop in response.history)


def is_loopback(host: str) -> bool:
    """Return whether a host name can only be this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_token(headers: CIMultiDict[str] | None, token: AccessToken) -> Mapping[str, str]:
    if headers is None:
        return {hdrs.AUTHORIZATION: token.authorization}
    headers[hdrs.AUTHORIZATION] = token.authorization
    return headers


async def _has_dead_token_message(response: aiohttp.ClientResponse) -> bool:
    """Recognize the documented 500 of a dead token (API reference, "Error envelopes seen")."""
    length = response.content_length
    small = length is not None and length <= _MAX_ERROR_BODY
    if not small and "json" not in response.content_type:
        return False
    return await _begins_with(response.content, PARSE_FAILURE.encode())


async def _begins_with(content: aiohttp.StreamReader, words: bytes) -> bool:
    """Return whether `words` are in the first 64 KiB of a body, and leave the body for the caller to read.

    A body that breaks off, or that takes longer than two seconds, does not contain them.
    """
    head = bytearray()
    try:
        async with asyncio.timeout(_MAX_LOOK):
            while words not in head and len(head) < _MAX_ERROR_BODY and (chunk := await content.read(_STEP)):
                head += chunk
                await asyncio.sleep(0)  # let the loop go on: a body of many tiny chunks takes long
    except (aiohttp.ClientError, TimeoutError):
        return False
    except RuntimeError:  # how aiohttp says that its session was closed meanwhile
        raise SessionClosedError("the session was closed while an answer was read: make a new VBCSession") from None
    finally:
        with warnings.catch_warnings():
            # aiohttp has no other way to look at a body without taking it from the caller.
            warnings.simplefilter("ignore", DeprecationWarning)
            content.unread_data(bytes(head))
    return words in head


async def _raise_for_status(response: aiohttp.ClientResponse, check: Any) -> None:
    with _closed_on_error(response):
        if callable(check):
            await cast(Callable[[aiohttp.ClientResponse], Awaitable[None]], check)(response)
        else:
            response.raise_for_status()


@contextmanager
def _closed_on_error(response: aiohttp.ClientResponse) -> Generator[None]:
    """Close a response that callers do not get because they are cancelled, for example."""
    try:
        yield
    except BaseException:
        response.close()
        raise
