"""Asyncio client for Truecaller's Verified Business Caller ID API."""

from importlib import import_module
from typing import Any, Final

# Each name is imported on first use, so that the pytest plugin and the command line start quickly.
_NAMES: Final = {
    "accounts": "VBCAccounts",
    "api.calls": "Calls",
    "api.events": "CallFinished",
    "api.labels": "Labels",
    "api.models": (
        "Batch BatchStatus BusinessNumber FailureReason FeatureSet Label PushResult RecordStatus Status StatusInfo"
    ),
    "api.number_results": "NumbersResult",
    "api.numbers": "Numbers",
    "api.policy": "APIPolicy CallOptions",
    "api.push": "AcknowledgedChunk Chunk ChunkResult FailedChunk InvalidChunk Progress",
    "api.records": "CallRecord",
    "credentials": "Credentials",
    "errors": (
        "APIConnectionError APIError BadRequestError ClaimLostError ConfigurationError CredentialsRejectedError "
        "ForbiddenError InvalidRecordError MintQuotaExhaustedError NotDeliveredError NotFoundError "
        "NumbersRefusedError PaceExceededError PartlyDoneError Problem RateLimitedError ServerError "
        "SessionClosedError StillPendingError StoreError StoreRefusedError TokenEndpointError TokenError "
        "UnauthorizedError UnknownOutcomeError VBCError WebhookError"
    ),
    "options": "RequestOptions SessionOptions SharedOptions",
    "session": "VBCSession",
    "stores": "FileStore MemoryStore RedisStore TokenStore",
    "token.events": (
        "LedgerEntry LiveToken MintFailed PoolEnded RefreshFailed StoreRecovered StoreUnavailable TokenAdopted "
        "TokenEvent TokenMinted TokenRejected TokenStatus"
    ),
    "token.model": "AccessToken",
    "token.policy": "TokenPolicy",
}
_MODULES: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

# The stub beside this file has the names for type checkers.
__all__ = sorted(_MODULES)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if module := _MODULES.get(name):
        value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
        return value
    if name == "__version__":
        metadata = import_module("importlib.metadata")
        try:
            return metadata.version(__name__)
        except metadata.PackageNotFoundError:
            return "0+checkout"  # it is not installed
    try:
        return import_module(f".{name}", __name__)
    except ModuleNotFoundError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
