"""Asyncio client for Truecaller's Verified Business Caller ID API: one token, many callers, ten mints."""

from .credentials import Credentials
from .errors import (
    APIError,
    BadRequestError,
    ConfigurationError,
    CredentialsRejectedError,
    ForbiddenError,
    MintQuotaExhaustedError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    SessionClosedError,
    StoreError,
    StoreRefusedError,
    TokenEndpointError,
    TokenError,
    UnauthorizedError,
    VBCError,
)
from .session import VBCSession
from .stores import FileStore, MemoryStore, RedisStore, TokenStore
from .token.events import (
    LedgerEntry,
    MintFailed,
    RefreshFailed,
    StoreRecovered,
    StoreUnavailable,
    TokenAdopted,
    TokenEvent,
    TokenMinted,
    TokenRejected,
    TokenStatus,
)
from .token.model import AccessToken
from .token.policy import TokenPolicy

__all__ = [
    "APIError",
    "AccessToken",
    "BadRequestError",
    "ConfigurationError",
    "Credentials",
    "CredentialsRejectedError",
    "FileStore",
    "ForbiddenError",
    "LedgerEntry",
    "MemoryStore",
    "MintFailed",
    "MintQuotaExhaustedError",
    "NotFoundError",
    "RateLimitedError",
    "RedisStore",
    "RefreshFailed",
    "ServerError",
    "SessionClosedError",
    "StoreError",
    "StoreRecovered",
    "StoreRefusedError",
    "StoreUnavailable",
    "TokenAdopted",
    "TokenEndpointError",
    "TokenError",
    "TokenEvent",
    "TokenMinted",
    "TokenPolicy",
    "TokenRejected",
    "TokenStatus",
    "TokenStore",
    "UnauthorizedError",
    "VBCError",
    "VBCSession",
]
