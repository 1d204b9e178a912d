"""`VBCSession`: opens and closes everything, and sends requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, Callable
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import aiohttp
from yarl import URL

from .credentials import Credentials, CredentialsSource
from .errors import ConfigurationError, SessionClosedError
from .secret import Secret, hidden
from .stores import TokenStore, open_store
from .token.clock import Clock, system_clock
from .token.endpoint import TokenEndpoint
from .token.events import LedgerEntry, TokenEvent, TokenStatus
from .token.holder import create_holder
from .token.model import AccessToken
from .token.policy import TokenPolicy
from .transport import RequestContext, Transport, is_loopback

if TYPE_CHECKING:
    from .api.calls import Calls
    from .api.labels import Labels
    from .api.numbers import Numbers
    from .api.policy import APIPolicy
    from .api.typed import TypedAPI

BASE_URL: Final = "https://enterprise-portal-noneu.truecaller.com"
_DEFAULT_POLICY: Final = TokenPolicy()
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(
    rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\.?|[0-9a-f:.]*:[0-9a-f:.]*(%[a-z0-9_.-]+)?", re.IGNORECASE
)
"""What a resolver can be asked for, or an IPv6 address. Anything else would fail later, as a mint that was lost."""


class VBCSession:
    """A session with the Verified Business Caller ID API: one token, shared by any number of coroutines.

    To be used as ``async with VBCSession(...) as vbc``, on one event loop.

    Args:
        credentials: `Credentials`, or an async callable that returns them (a vault); it is asked when a token
            is first needed, and again, once, when the server rejects what it gave.
        base_url: the API's origin; ``https`` only, but for loopback hosts.
        store: where the token and its ledger are kept: a `TokenStore`, a URL (``memory://``,
            ``file:///path/token.json``, ``redis://host/0``, ``rediss://``), or None for the memory of this session.
        policy: every number of the token's life.
        http: an `aiohttp.ClientSession` of yours, which is used for everything and never closed here; give its
            pool more connections than you have slow calls at a time, since a mint waits for a free one, too. None
            for one of our own; then each mint has a connection that it shares with no call.
        on_event: called with everything that happens to the token (`TokenMinted`, ...). It must not block.
        allow_http: True says that ``http://`` to another host is meant: a test network.
        clock: for tests that own time.
        api_policy: every number of the typed calls: their pace, and how they are repeated.

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
        "_home",
        "_http",
        "_loop",
        "_our_store",
        "_state",
        "_transport",
        "_user_http",
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
        api_policy: APIPolicy | None = None,
    ) -> None:
        store = hidden(store) if isinstance(store, str) else store
        _check_types(credentials, policy, http, on_event, api_policy)
        self._base_url = checked_base_url(base_url, allow_http=allow_http)
        policy = policy or _DEFAULT_POLICY
        opened = None if store is None else open_store(store)
        self._api: TypedAPI | None = None
        self._api_policy = api_policy
        self._clock = clock or system_clock()
        self._our_store: Any = opened if isinstance(store, str) else None
        self._holder = create_holder(
            endpoint=TokenEndpoint(self._base_url, policy.mint_timeout.total_seconds()),
            source=credentials,
            store=opened,
            policy=policy,
            clock=self._clock,
            on_event=on_event,
        )
        self._transport = Transport(self._holder, self._base_url, self._check_usable)
        self._user_http = http
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home: Any = _Thread(None)
        self._guard: AsyncGenerator[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._state: Literal["new", "open", "closed"] = "new"

    @classmethod
    def from_env(cls, prefix: str = "TRUECALLER_VBC_", **options: Any) -> Self:
        """A session from environment variables.

        ``{prefix}CLIENT_ACCOUNT_ID``, ``{prefix}KEY_ID`` and ``{prefix}API_KEY`` are needed;
        ``{prefix}BASE_URL`` and ``{prefix}STORE`` are read if they are there.

        Args:
            prefix: of the variables' names.
            options: any argument of `VBCSession`; it goes before the environment.

        Raises:
            ConfigurationError: names the variable that is missing or wrong.
        """
        for option in ("base_url", "store"):
            if value := Secret(os.environ.get(prefix + option.upper(), "").strip()):
                options.setdefault(option, value)
        credentials = options.pop("credentials", None) or Credentials.from_env(prefix)
        return cls(credentials, **options)

    # Opening and closing

    async def __aenter__(self) -> Self:
        if self._state != "new":
            state = "closed" if self._state == "closed" else "open already"
            raise SessionClosedError(f"this VBCSession is {state}: make a new one for each 'async with'")
        if self._user_http is not None and self._user_http.closed:
            raise ConfigurationError("http= is an aiohttp session that is closed: keep it open as long as this one")
        self._loop = asyncio.get_running_loop()
        self._http = self._user_http or aiohttp.ClientSession()
        self._holder.open(self._user_http)
        self._guard = self._close_with_the_loop()
        await anext(self._guard)
        # A loop knows its thread while it runs, and comparing that is cheaper than asking for the running loop.
        self._home = self._loop if hasattr(self._loop, "_thread_id") else _Thread(get_ident())
        self._state = "open"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop the background and close what is ours. May be called again, and at any time.

        Coroutines that wait for a mint get `SessionClosedError`. The token itself stays valid at the server.

        Raises:
            SessionClosedError: called on another event loop than the session was opened on.
        """
        if self._loop is None:
            self._state = "closed"  # and was never open
            return
        if self._loop is not asyncio.get_running_loop():
            raise self._not_usable_here()
        if self._closing is None:
            # Of its own, and shielded: a caller who is cancelled in mid-close does not leave half of it behind.
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._state = "closed"
        self._home = _Thread(None)
        guard, self._guard = self._guard, None
        if self._api is not None:
            self._api.close()
        # Each of them whatever becomes of the others: a loop that ends now cancels this, too, and a store may fail.
        async with contextlib.AsyncExitStack() as closing:
            if guard is not None:
                closing.push_async_callback(guard.aclose)
            if hasattr(self._our_store, "close"):
                closing.push_async_callback(self._our_store.close)
            if self._user_http is None and self._http is not None:
                closing.push_async_callback(self._http.close)
            await self._holder.close()

    async def _close_with_the_loop(self) -> AsyncGenerator[None]:
        """Whoever ends a loop properly closes its async generators: so an abandoned session is closed, too."""
        try:
            yield
        finally:
            if self._guard is not None:
                self._guard = None
                await self.close()

    # The token

    async def token(self) -> AccessToken:
        """A token that may be sent now: at once and without any I/O while there is one, else minted.

        However many coroutines ask, one attempt serves them all, and cancelling any of them neither stops it nor
        loses what it brings. Once there is a token, the background keeps it fresh as long as somebody asks.

        Raises:
            TokenError: none could be had: `CredentialsRejectedError`, `MintQuotaExhaustedError` or
                `TokenEndpointError`. The same failure is raised, without any network, until its ``retry_at``.
            StoreRefusedError: the store must not be used as it is, such as a file that others can read.
            SessionClosedError: the session is not open on this event loop, or was closed meanwhile.
        """
        token = self._holder.fast_token
        if token is not None and self._home._thread_id == get_ident():  # noqa: SLF001
            return token
        self._check_usable()
        return await self._holder.token()

    @property
    def current_token(self) -> AccessToken | None:
        """The token at hand if it may still be sent, else None. Never any I/O; may be read from any thread.

        Who reads it uses it, so the background keeps a token fresh that is only read here. It mints no first one, and
        does not wake a background that has gone dormant: `token` does.
        """
        holder = self._holder
        if (hot := holder.fast_token) is not None:
            return hot
        # Written out here: calling a method of the holder would cost as much as reading the clock.
        state = holder.state
        if (current := state.current) is None or holder.now() >= current.unusable_after:
            return None
        state.used = True
        return current.token

    async def warm_up(self) -> AccessToken:
        """Have a token before the first request needs it, so that a server fails at boot and not at its first call.

        Raises:
            TokenError: as `token`.
            SessionClosedError: as `token`.
        """
        return await self.token()

    def status(self) -> TokenStatus:
        """Where the token stands. Never any I/O; the session need not be open."""
        return self._holder.status()

    def ledger(self) -> tuple[LedgerEntry, ...]:
        """The attempts to mint of the last window, oldest first, those of other processes included. Never any I/O."""
        return self._holder.ledger()

    @property
    def client_account_id(self) -> str | None:
        """The account's ID, for paths. None until a credentials callable was first asked."""
        return self._holder.account_id

    @property
    def base_url(self) -> URL:
        """The only origin that the token is ever sent to."""
        return self._base_url

    # The typed API

    @property
    def calls(self) -> Calls:
        """Tell the API of calls to come: `Calls`."""
        return self._typed().calls

    @property
    def labels(self) -> Labels:
        """The account's labels: `Labels`."""
        return self._typed().labels

    @property
    def numbers(self) -> Numbers:
        """The account's numbers and their feature sets: `Numbers`."""
        return self._typed().numbers

    def _typed(self) -> TypedAPI:
        if self._api is None:
            # With it comes cattrs, which a program that only needs a token does not wait for.
            from .api.policy import APIPolicy  # noqa: PLC0415
            from .api.typed import TypedAPI  # noqa: PLC0415

            self._api = TypedAPI(self, self._api_policy or APIPolicy(), self._clock.wall)
        return self._api

    # Requests

    def request(self, method: str, path: str | URL, **kwargs: Any) -> RequestContext:
        """Send a request with the token attached, as ``aiohttp.ClientSession.request`` does without.

        A token that the API says is dead is replaced, and the request is sent once more, unless its body cannot
        be sent twice (an async generator, a file). Whatever else comes is the caller's: no status is an error.

        Args:
            method: such as ``"GET"``.
            path: below `base_url`, such as ``f"/clients/{vbc.client_account_id}/labels"``.
            kwargs: aiohttp's own. An ``Authorization`` among the headers goes before the token. The total of
                ``timeout`` includes the wait for a token.

        Returns:
            To be used with ``async with`` or ``await``; it gives an `aiohttp.ClientResponse`.

        Raises:
            ConfigurationError: the path leads to another origin; nothing was sent.
            TokenError: there is no token, or none to replace a dead one.
            SessionClosedError: the session is not open on this event loop.
            aiohttp.ClientError: as aiohttp; also TimeoutError.
        """
        return RequestContext(self._transport.request(method, path, kwargs))

    def get(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """`request` with GET."""
        return RequestContext(self._transport.request("GET", path, kwargs))

    def post(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """`request` with POST."""
        return RequestContext(self._transport.request("POST", path, kwargs))

    def put(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """`request` with PUT."""
        return RequestContext(self._transport.request("PUT", path, kwargs))

    def patch(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """`request` with PATCH."""
        return RequestContext(self._transport.request("PATCH", path, kwargs))

    def delete(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """`request` with DELETE."""
        return RequestContext(self._transport.request("DELETE", path, kwargs))

    async def auth(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """An aiohttp client middleware that does what `request` does, for a `ClientSession` that you keep.

        ``aiohttp.ClientSession(middlewares=(vbc.auth,))``. Requests to other origins pass untouched, on every hop
        of a redirect. ``middlewares=`` of a single request replaces the session's, this one included.

        Raises:
            TokenError: as `request`.
            SessionClosedError: the session is not open on this event loop.
        """
        return await self._transport.middleware(request, handler)

    # Being usable

    def _check_usable(self) -> aiohttp.ClientSession:
        # Only while a loop runs does it have a thread, and a thread runs one loop at a time.
        if self._home._thread_id != get_ident() or self._http is None:  # noqa: SLF001
            raise self._not_usable_here()
        if self._home is not self._loop and self._loop is not asyncio.get_running_loop():
            raise self._not_usable_here()
        return self._http

    def _not_usable_here(self) -> SessionClosedError:
        if self._state == "new":
            return SessionClosedError("this VBCSession was not entered: use it as 'async with VBCSession(...) as vbc'")
        if self._state == "closed":
            return SessionClosedError("this VBCSession is closed: make a new one, and keep it as long as it is used")
        return SessionClosedError(
            "this VBCSession was opened on another event loop: make one per loop, inside the loop that uses it"
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_state"):
            return "<VBCSession refused>"  # its settings were, and a traceback may print it: a repr must never raise
        return f"<VBCSession {self.client_account_id} at {self._base_url} {self._state}>"


class _Thread:
    """In the place of a loop, the thread that it runs on."""

    __slots__ = ("_thread_id",)

    def __init__(self, thread_id: int | None) -> None:
        self._thread_id = thread_id


def checked_base_url(base_url: object, *, allow_http: bool) -> URL:
    """`base_url` as a URL that a token may be sent to.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        url = URL(base_url) if isinstance(base_url, str | URL) else URL()
        origin = url.origin()
    except ValueError:
        raise ConfigurationError(f"base_url= must be an origin such as {BASE_URL}") from None
    if url.user is not None or url.password is not None:
        raise ConfigurationError("base_url= carries credentials: leave them out, they go into Credentials")
    # As it is sent: decoded, an international name may be one that cannot be encoded again.
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
    from .api.policy import APIPolicy  # noqa: PLC0415 - whoever gives one has it imported

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
