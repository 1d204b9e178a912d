"""Asyncio client for Truecaller's Verified Business Caller ID API."""

from typing import TYPE_CHECKING, Any

from .credentials import Credentials
from .errors import (
    APIError,
    BadRequestError,
    ConfigurationError,
    CredentialsRejectedError,
    ForbiddenError,
    InvalidRecordError,
    MintQuotaExhaustedError,
    NotDeliveredError,
    NotFoundError,
    NumbersRefusedError,
    PartlyDoneError,
    Problem,
    RateLimitedError,
    ServerError,
    SessionClosedError,
    StillPendingError,
    StoreError,
    StoreRefusedError,
    TokenEndpointError,
    TokenError,
    UnauthorizedError,
    UnknownOutcomeError,
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

if TYPE_CHECKING:
    from .api.calls import Calls
    from .api.labels import Labels
    from .api.models import (
        Batch,
        BatchStatus,
        BusinessNumber,
        FailureReason,
        FeatureSet,
        Label,
        PushResult,
        RecordStatus,
        Status,
        StatusInfo,
    )
    from .api.number_results import NumbersResult
    from .api.numbers import Numbers
    from .api.policy import APIPolicy
    from .api.push import Chunk, ChunkResult, Progress
    from .api.records import CallRecord

__all__ = [
    "APIError",
    "APIPolicy",
    "AccessToken",
    "BadRequestError",
    "Batch",
    "BatchStatus",
    "BusinessNumber",
    "CallRecord",
    "Calls",
    "Chunk",
    "ChunkResult",
    "ConfigurationError",
    "Credentials",
    "CredentialsRejectedError",
    "FailureReason",
    "FeatureSet",
    "FileStore",
    "ForbiddenError",
    "InvalidRecordError",
    "Label",
    "Labels",
    "LedgerEntry",
    "MemoryStore",
    "MintFailed",
    "MintQuotaExhaustedError",
    "NotDeliveredError",
    "NotFoundError",
    "Numbers",
    "NumbersRefusedError",
    "NumbersResult",
    "PartlyDoneError",
    "Problem",
    "Progress",
    "PushResult",
    "RateLimitedError",
    "RecordStatus",
    "RedisStore",
    "RefreshFailed",
    "ServerError",
    "SessionClosedError",
    "Status",
    "StatusInfo",
    "StillPendingError",
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
    "UnknownOutcomeError",
    "VBCError",
    "VBCSession",
]

# Imported on first use: programs that only use tokens do not need them.
_TYPED_API = {
    "APIPolicy": "policy",
    "Batch": "models",
    "BatchStatus": "models",
    "BusinessNumber": "models",
    "CallRecord": "records",
    "Calls": "calls",
    "Chunk": "push",
    "ChunkResult": "push",
    "FailureReason": "models",
    "FeatureSet": "models",
    "Label": "models",
    "Labels": "labels",
    "Numbers": "numbers",
    "NumbersResult": "number_results",
    "Progress": "push",
    "PushResult": "models",
    "RecordStatus": "models",
    "Status": "models",
    "StatusInfo": "models",
}


def __getattr__(name: str) -> Any:
    if name not in _TYPED_API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = globals()[name] = getattr(import_module(f".api.{_TYPED_API[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_TYPED_API]
