"""Provide `VBCSession`, which opens and closes everything and sends requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import weakref
from collections.abc import AsyncGenerator, Callable
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Never, Self, SupportsIndex, TypeAlias, Unpack, cast

import aiohttp
import attrs
from yarl import URL

from .credentials import Credentials, CredentialsSource
from .errors import ConfigurationError, SessionClosedError
from .options import RequestOptions, SessionOptions
from .secret import Secret, hidden
from .stores import TokenStore, open_store
from .token.clock import Clock, system_clock
from .token.endpoint import TokenEndpoint
from .token.events import LedgerEntry, TokenEvent, TokenStatus
from .token.holder import TokenHolder, create_holder
from .token.model import AccessToken
from .token.policy import TokenPolicy
from .token.state import account_key
from .token.tasks import GracefulTask, shielded
from .transport import RequestContext, Transport, is_loopback

if TYPE_CHECKING:
    from .api import TypedAPI
    from .api.calls import Calls
    from .api.events import CallFinished
    from .api.labels import Labels
    from .api.numbers import Numbers
    from .api.policy import APIPolicy

VBCEvent: TypeAlias = "TokenEvent | CallFinished"
"""What `VBCSession.subscribe` passes on."""

BASE_URL: Final = "https://enterprise-portal-noneu.truecaller.com"
_CLOSING_TIME: Final = 1.0
_DEFAULT_POLICY: Final = TokenPolicy()
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(
    rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\.?|[0-9a-f:.]*:[0-9a-f:.]*(%[a-z0-9_.-]+)?", re.IGNORECASE
)
"""Valid host names and IPv6 literals. Anything else would fail later, as a lost mint."""


class VBCSession:
    """A session with the Verified Business Caller ID API, whose token any number of coroutines share.

    Use it as ``async with VBCSession(...) as vbc``, on one event loop.

    Args:
        credentials: `Credentials`, or an async callable that returns them (a vault). It is called when a token
            is first needed, and once more when the server rejects what it returned or its quota is spent.
        base_url: the API's origin; ``https`` only, except for loopback hosts.
        store: where the token and its ledger are kept: a `TokenStore`, a URL (``memory://``,
            ``file:///path/token.json``, ``redis://host/0``, ``rediss://``), or None to keep them in this session only.
        policy: the numbers of a token's life.
        http: an `aiohttp.ClientSession` of yours, which is used for all requests and never closed here. Its pool needs
            more connections than you have slow calls at a time, since a mint waits for a free one, too. With None
            the session opens one of its own, and each mint a connection of its own.
        on_event: called with everything that happens to the token (`TokenMinted`, ...). It must not block.
        allow_http: True allows ``http://`` to other hosts, for test networks.
        refresh: "ahead" refreshes the token in the background before it ends; "on_demand" starts no background task and
            mints when a caller has no token, which suits short scripts.
        clock: for tests that control the time.
        api_policy: the numbers of the typed calls, such as rates and retries.

    Raises:
        ConfigurationError: a setting is missing or wrong; nothing was sent.
    """

    __slots__ = (
        "__weakref__",
        "_api",
        "_api_policy",
        "_base_url",
        "_clock",
        "_closing",
        "_guard",
        "_holder",
        "_http",
        "_loop",
        "_our_store",
        "_owner",
        "_refresh_ahead",
        "_state",
        "_transport",
        "_user_http",
        "sharing",
    )

    def __init__(
        self,
        credentials: CredentialsSource,
        *,
        base_url: str | URL = BASE_URL,
        store: TokenStore | str | None = None,
        policy: TokenPolicy | None = None,
        http: aiohttp.ClientSession | None = None,
        on_event: Callable[[TokenEvent], object] | None = None,
        allow_http: bool = False,
        clock: Clock | None = None,
        refresh: Literal["ahead", "on_demand"] = "ahead",
        api_policy: APIPolicy | None = None,
    ) -> None:
        store = hidden(store) if isinstance(store, str) else store
        _check_types(credentials, policy, http, on_event, api_policy)
        if refresh not in ("ahead", "on_demand"):
            raise ConfigurationError("VBCSession(refresh=...) must be 'ahead' or 'on_demand'")
        self._base_url = checked_base_url(base_url, allow_http=allow_http)
        policy = policy or _DEFAULT_POLICY
        opened = None if store is None else open_store(store)
        self._api: TypedAPI | None = None
        self._api_policy = api_policy
        self._clock = clock or system_clock()
        self._our_store: Any = opened if isinstance(store, str) else None
        self._holder = create_holder(
            endpoint=TokenEndpoint(self._base_url, policy),
            source=credentials,
            store=opened,
            policy=policy,
            clock=self._clock,
            on_event=on_event,
        )
        self._refresh_ahead = refresh == "ahead"
        # What other sessions must have in common with this one to share its token; None if they cannot.
        self.sharing: object = None if opened is None or store == "memory://" else store
        self._transport = Transport(self._holder, self._base_url, self._check_usable)
        self._user_http = http
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner: Any = _Thread(None)
        self._guard: AsyncGenerator[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._state: Literal["new", "open", "closed", "ended", "forked"] = "new"

    @classmethod
    def from_env(cls, prefix: str = "TRUECALLER_VBC_", **options: Unpack[SessionOptions]) -> Self:
        """Create a session from environment variables.

        ``{prefix}CLIENT_ACCOUNT_ID``, ``{prefix}KEY_ID`` and ``{prefix}API_KEY`` are required;
        ``{prefix}BASE_URL`` and ``{prefix}STORE`` are optional.

        Args:
            prefix: the beginning of the variables' names.
            options: any argument of `VBCSession`; it takes precedence over the environment.

        Raises:
            ConfigurationError: names the variable that is missing or wrong.
        """
        given = cast(dict[str, Any], options)
        for option in ("base_url", "store"):
            if value := Secret(os.environ.get(prefix + option.upper(), "").strip()):
                given.setdefault(option, value)
        credentials = given.pop("credentials", None) or Credentials.from_env(prefix)
        return cls(credentials, **given)

    # Opening and closing

    async def open(self) -> Self:
        """Open the session where ``async with`` does not fit (notebooks, start-up hooks); `close` ends it.

        Returns:
            This session: ``vbc = await VBCSession.from_env().open()``.

        Raises:
            SessionClosedError: it is open already, or was closed.
            ConfigurationError: ``http`` is closed.
        """
        if self._state == "forked":
            raise self._not_usable_here()
        if self._state != "new":
            state = "open already" if self._state == "open" else "closed"
            raise SessionClosedError(f"this VBCSession is {state}: make a new one for each 'async with'")
        if self._user_http is not None and self._user_http.closed:
            raise ConfigurationError("http= is an aiohttp session that is closed: keep it open as long as this one")
        self._loop = asyncio.get_running_loop()
        self._http = self._user_http or aiohttp.ClientSession()
        self._holder.open(self._user_http, in_background=self._refresh_ahead)
        self._guard = self._close_with_the_loop()
        await anext(self._guard)
        # A running loop knows its thread, and comparing that is cheaper than getting the running loop.
        self._owner = self._loop if hasattr(self._loop, "_thread_id") else _Thread(get_ident())
        self._state = "open"
        self._register()
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop the background task and close what this session opened. May be called at any time, and again.

        Coroutines that wait for a mint get `SessionClosedError`. The token stays valid at the server.

        Raises:
            SessionClosedError: called on another event loop than the session was opened on.
        """
        if self._state == "forked":
            return  # it is open in the parent
        if self._loop is None:
            self._state = "closed"  # it was never open
            return
        if self._loop is not asyncio.get_running_loop():
            raise self._not_usable_here()
        if self._closing is None:
            # In a task of its own, shielded: cancelling the caller of `close` must not leave half of it undone.
            # The end of the loop cancels it, too, so it has as long as the token request that it waits for.
            grace = self._holder.close_grace and self._holder.close_grace + _CLOSING_TIME
            self._closing = GracefulTask(self._close(), loop=self._loop, grace=grace, name="truecaller_vbc close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._state != "ended":
            self._state = "closed"
        self._owner = _Thread(None)
        guard, self._guard = self._guard, None
        if self._api is not None:
            self._api.close()
        # Close each of them even if another fails, or if the end of the loop cancels this task.
        async with contextlib.AsyncExitStack() as closing:
            if guard is not None:
                closing.push_async_callback(guard.aclose)
            if hasattr(self._our_store, "close"):
                closing.push_async_callback(self._our_store.close)
            if self._user_http is None and self._http is not None:
                closing.push_async_callback(self._http.close)
            with shielded():
                await self._holder.close(with_the_loop=self._state == "ended")

    async def _close_with_the_loop(self) -> AsyncGenerator[None]:
        """Close an abandoned session at the end of the loop, which closes all async generators."""
        try:
            yield
        finally:
            if self._guard is not None:
                self._guard = None
                self._state = "ended"
                await self.close()

    def _register(self) -> None:
        """Remember the open session. Warn once if another one of the same account and key does not share its token."""
        _open_sessions.add(self)
        if (credentials := self._holder.state.credentials) is None:
            return
        name = account_key(self._base_url, credentials)
        other = _newest.get(name)
        _newest[name] = self
        if other is None or not other.is_open_on(self._loop) or name in _warned:
            return
        if self.sharing is None or self.sharing != other.sharing:
            _warned.add(name)
            self._holder.state.log.warning(
                "a second VBCSession of the same account and key is open in this process, and they share no token, so "
                "each spends mints: keep one session, or give both the same store= (TRUECALLER_VBC_STORE)"
            )

    def is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Tell whether the session is open on this event loop."""
        return self._state == "open" and self._loop is loop

    def touch(self) -> None:
        """Count as used now, see `VBCAccounts`."""
        self._holder.read_at = self._holder.now()

    def is_idle(self, seconds: float) -> bool:
        """Tell whether nothing was sent for that long, and no call waits, see `VBCAccounts`."""
        return self._holder.is_idle(seconds) and (self._api is None or not self._api.is_busy)

    def disown(self) -> None:
        """Make the copy of this session in a forked process unusable, without touching what the parent uses.

        Called automatically after a fork.
        """
        self._state = "forked"
        self._owner = _Thread(None)
        self._holder.disown()
        if self._user_http is None and self._http is not None and (connector := self._http.connector) is not None:
            # Closing it here would take the parent's connections out of the selector that both processes share.
            connector._closed = True  # pyright: ignore[reportPrivateUsage] # noqa: SLF001
            _inherited.append(connector)
            self._http.detach()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Never:
        raise SessionClosedError(
            "a VBCSession cannot be copied or sent to another process: make one there, and share the token with store="
        )

    # The token

    async def token(self) -> AccessToken:
        """Return a token that may be sent now, at once and without any I/O if there is one; else mint it.

        One attempt serves all coroutines that wait, and cancelling any of them neither stops it nor loses its token.
        After the first token the background keeps it fresh as long as it is used.

        Raises:
            TokenError: no token was obtained (`CredentialsRejectedError`, `MintQuotaExhaustedError` or
                `TokenEndpointError`). Until its ``retry_at`` the same error is raised without any request.
            StoreRefusedError: the store must be repaired first, such as a file that other users can read.
            SessionClosedError: the session is not open on this event loop, or was closed meanwhile.
        """
        token = self._holder.fast_token
        if token is not None and self._owner._thread_id == get_ident():  # noqa: SLF001
            return token
        self._check_usable()
        return await self._holder.token()

    @property
    def current_token(self) -> AccessToken | None:
        """The current token if it may still be sent, else None. No I/O; may be read from any thread.

        Reading counts as use, so the background keeps refreshing. It never mints the first token and never wakes a
        dormant background; use `token()` for that.
        """
        holder = self._holder
        if (hot := holder.fast_token) is not None:
            return hot
        # Written out here: calling a method of the holder would cost as much as reading the clock.
        state = holder.state
        if (current := state.current) is None or (now := holder.now()) >= current.unusable_after:
            return None
        holder.read_at = now
        state.used = True
        return current.token

    async def warm_up(self) -> AccessToken:
        """Get a token before the first request needs it, so that a server fails at boot and not at its first call.

        Raises:
            TokenError: as `token`.
            SessionClosedError: as `token`.
        """
        return await self.token()

    def status(self) -> TokenStatus:
        """Return the state of the token. No I/O; the session need not be open."""
        status = self._holder.status()
        waiting = 0 if self._api is None else self._api.waiting
        return attrs.evolve(status, calls_waiting=waiting) if waiting else status

    def subscribe(self, listener: Callable[[VBCEvent], object]) -> Callable[[], None]:
        """Call `listener` with every event, beside ``on_event``, and with a `CallFinished` after each typed call.

        It must not block. What it raises is only logged.

        Returns:
            a function that ends the subscription.
        """
        announcer = self._holder.announcer

        def listen(event: VBCEvent) -> None:
            listener(event)

        def unsubscribe() -> None:
            announcer.listeners = tuple(other for other in announcer.listeners if other is not listen)

        announcer.listeners += (listen,)

        return unsubscribe

    @property
    def on_call(self) -> Callable[[CallFinished], object] | None:
        """What the typed calls report to; None if nothing has subscribed."""
        announcer = self._holder.announcer
        return announcer.tell_listeners if announcer.listeners else None

    def ledger(self) -> tuple[LedgerEntry, ...]:
        """Return the attempts to mint of the last window, oldest first, including those of other processes. No I/O."""
        return self._holder.ledger()

    @property
    def client_account_id(self) -> str | None:
        """The account's ID, for paths. None until a credentials callable was first called."""
        return self._holder.account_id

    @property
    def base_url(self) -> URL:
        """The only origin that the token is sent to."""
        return self._base_url

    # The typed API

    @property
    def calls(self) -> Calls:
        """Announce calls to the API, see `Calls`."""
        return self._typed().calls

    @property
    def labels(self) -> Labels:
        """The account's labels, see `Labels`."""
        return self._typed().labels

    @property
    def numbers(self) -> Numbers:
        """The account's numbers and their feature sets, see `Numbers`."""
        return self._typed().numbers

    def _typed(self) -> TypedAPI:
        if self._api is None:
            # Imported on first use: programs that only use tokens do not need it.
            from .api import TypedAPI  # noqa: PLC0415
            from .api.policy import APIPolicy  # noqa: PLC0415

            self._api = TypedAPI(self, self._api_policy or APIPolicy(), self._clock.wall)
        return self._api

    # Requests

    def request(self, method: str, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        """Send a request as ``aiohttp.ClientSession.request`` does, with the token attached.

        If the API says that the token is dead, it is replaced and the request is sent once more, unless its body
        cannot be sent twice (an async generator, a file). Any other answer is returned, whatever its status.

        Args:
            method: such as ``"GET"``.
            path: below `base_url`, such as ``f"/clients/{vbc.client_account_id}/labels"``.
            kwargs: those of aiohttp, see `RequestOptions`. An ``Authorization`` header takes precedence over the token.
                The total of ``timeout`` includes the wait for a token.

        Returns:
            An awaitable and async context manager of an `aiohttp.ClientResponse`.

        Raises:
            ConfigurationError: the path leads to another origin; nothing was sent.
            TokenError: no token was obtained, or no replacement for a dead one.
            SessionClosedError: the session is not open on this event loop.
            aiohttp.ClientError: as raised by aiohttp; also TimeoutError.
        """
        return RequestContext(self._transport.request(method, path, kwargs))

    @property
    def pool(self) -> TokenHolder | None:
        """Where the typed calls find their tokens; None with one token (``TokenPolicy(tokens=1)``)."""
        return None if self._holder.state.pool is None else self._holder

    def request_with(self, token: AccessToken, method: str, path: str | URL, **kwargs: Any) -> RequestContext:
        """Send a request as `request` does, with a token of the pool."""
        return RequestContext(self._transport.request(method, path, kwargs, token))

    def get(self, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        """Send a GET request, see `request`."""
        return RequestContext(self._transport.request("GET", path, kwargs))

    def post(self, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        """Send a POST request, see `request`."""
        return RequestContext(self._transport.request("POST", path, kwargs))

    def put(self, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        """Send a PUT request, see `request`."""
        return RequestContext(self._transport.request("PUT", path, kwargs))

    def patch(self, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        """Send a PATCH request, see `request`."""
        return RequestContext(self._transport.request("PATCH", path, kwargs))

    def delete(self, path: str | URL, **kwargs: Unpack[RequestOptions]) -> RequestContext:
        """Send a DELETE request, see `request`."""
        return RequestContext(self._transport.request("DELETE", path, kwargs))

    async def auth(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Attach and replace the token as `request` does: an aiohttp client middleware for a `ClientSession` of yours.

        ``aiohttp.ClientSession(middlewares=(vbc.auth,))``. Requests to other origins, also after a redirect, are
        not changed. ``middlewares=`` of a single request replaces those of the session, including this one.

        Raises:
            TokenError: as `request`.
            SessionClosedError: the session is not open on this event loop.
        """
        return await self._transport.middleware(request, handler)

    # Being usable

    def _check_usable(self) -> aiohttp.ClientSession:
        # A loop has a thread only while it runs, and a thread runs one loop at a time.
        if self._owner._thread_id != get_ident() or self._http is None:  # noqa: SLF001
            raise self._not_usable_here()
        if self._owner is not self._loop and self._loop is not asyncio.get_running_loop():
            raise self._not_usable_here()
        return self._http

    def _not_usable_here(self) -> SessionClosedError:
        if self._state == "new":
            return SessionClosedError("this VBCSession was not entered: use it as 'async with VBCSession(...) as vbc'")
        if self._state == "forked":
            return SessionClosedError(
                "this VBCSession was opened before a fork: make one in each process, and share the token with store="
            )
        if self._state == "ended" or (self._state == "open" and self._loop is not None and self._loop.is_closed()):
            return SessionClosedError(
                "this VBCSession is closed: the event loop that it was opened on has ended. Keep one loop running, or "
                "make a session for each loop (under WSGI, Celery or serverless: for each call, with store= to share "
                "the token)"
            )
        if self._state == "closed":
            return SessionClosedError(
                "this VBCSession is closed: make a new one, and keep it open as long as it is used"
            )
        return SessionClosedError(
            "this VBCSession was opened on another event loop: make one per loop, inside the loop that uses it"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_state"):
            return "<VBCSession refused>"  # __init__ raised, and a traceback may print it: a repr must never raise
        state = "closed" if self._state == "ended" else self._state
        return f"<VBCSession {self.client_account_id} at {self._base_url} {state}>"


_open_sessions: Final[weakref.WeakSet[VBCSession]] = weakref.WeakSet()
_newest: Final[weakref.WeakValueDictionary[str, VBCSession]] = weakref.WeakValueDictionary()
_warned: Final[set[str]] = set()
# Kept, so that a forked process never closes the sockets that it shares with its parent.
_inherited: Final[list[object]] = []


def _disown_in_child() -> None:
    for session in list(_open_sessions):
        session.disown()
        _inherited.append(session)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_in_child)


class _Thread:
    """Stand-in for a loop without `_thread_id`."""

    __slots__ = ("_thread_id",)

    def __init__(self, thread_id: int | None) -> None:
        self._thread_id = thread_id


def checked_base_url(base_url: object, *, allow_http: bool) -> URL:
    """Return `base_url` as a URL, after checking that a token may be sent there.

    Raises:
        ConfigurationError: it is not such a URL.
    """
    try:
        url = URL(base_url) if isinstance(base_url, str | URL) else URL()
        origin = url.origin()
    except (ValueError, IndexError):  # yarl raises IndexError for "//[]@"
        raise ConfigurationError(f"base_url= must be an origin such as {BASE_URL}") from None
    if url.user is not None or url.password is not None:
        raise ConfigurationError("base_url= carries credentials: leave them out, they go into Credentials")
    # The encoded form, as it is sent: a decoded international name may not be encodable again.
    host = url.raw_host or ""
    if not _HOST.fullmatch(host):
        raise ConfigurationError(f"base_url= must be an origin such as {BASE_URL}")
    if url.path not in ("", "/") or url.query_string or url.fragment:
        raise ConfigurationError(f"base_url= must be an origin without path and query, such as {origin}")
    if url.scheme not in ("https", "http"):
        raise ConfigurationError(f"base_url= must start with https://, not {url.scheme}://")
    if url.scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            f"base_url={origin} would send the API key in the clear: use https, or allow_http=True in a test network"
        )
    return origin


def _is_api_policy(value: object) -> bool:
    from .api.policy import APIPolicy  # noqa: PLC0415 - given one, the module is imported already

    return isinstance(value, APIPolicy)


def _check_types(
    credentials: object,
    policy: TokenPolicy | None,
    http: aiohttp.ClientSession | None,
    on_event: Callable[[TokenEvent], object] | None,
    api_policy: APIPolicy | None,
) -> None:
    checks = (
        (
            "credentials",
            isinstance(credentials, Credentials) or callable(credentials),
            "Credentials or a callable",
        ),
        ("policy", policy is None or isinstance(policy, TokenPolicy), "a TokenPolicy"),
        ("api_policy", api_policy is None or _is_api_policy(api_policy), "an APIPolicy"),
        ("http", http is None or isinstance(http, aiohttp.ClientSession), "an aiohttp.ClientSession"),
        ("http", getattr(http, "auth", None) is None, "a session without auth=: the API takes a token only"),
        ("on_event", on_event is None or callable(on_event), "callable"),
    )
    for name, fits, what in checks:
        if not fits:
            raise ConfigurationError(f"VBCSession({name}=...) must be {what}")
