from .accounts import VBCAccounts as VBCAccounts
from .api.calls import Calls as Calls
from .api.events import CallFinished as CallFinished
from .api.labels import Labels as Labels
from .api.models import Batch as Batch
from .api.models import BatchStatus as BatchStatus
from .api.models import BusinessNumber as BusinessNumber
from .api.models import FailureReason as FailureReason
from .api.models import FeatureSet as FeatureSet
from .api.models import Label as Label
from .api.models import PushResult as PushResult
from .api.models import RecordStatus as RecordStatus
from .api.models import Status as Status
from .api.models import StatusInfo as StatusInfo
from .api.number_results import NumbersResult as NumbersResult
from .api.numbers import Numbers as Numbers
from .api.policy import APIPolicy as APIPolicy
from .api.policy import CallOptions as CallOptions
from .api.push import AcknowledgedChunk as AcknowledgedChunk
from .api.push import Chunk as Chunk
from .api.push import ChunkResult as ChunkResult
from .api.push import FailedChunk as FailedChunk
from .api.push import InvalidChunk as InvalidChunk
from .api.push import Progress as Progress
from .api.records import CallRecord as CallRecord
from .credentials import Credentials as Credentials
from .errors import APIConnectionError as APIConnectionError
from .errors import APIError as APIError
from .errors import BadRequestError as BadRequestError
from .errors import ClaimLostError as ClaimLostError
from .errors import ConfigurationError as ConfigurationError
from .errors import CredentialsRejectedError as CredentialsRejectedError
from .errors import ForbiddenError as ForbiddenError
from .errors import InvalidRecordError as InvalidRecordError
from .errors import MintQuotaExhaustedError as MintQuotaExhaustedError
from .errors import NotDeliveredError as NotDeliveredError
from .errors import NotFoundError as NotFoundError
from .errors import NumbersRefusedError as NumbersRefusedError
from .errors import PaceExceededError as PaceExceededError
from .errors import PartlyDoneError as PartlyDoneError
from .errors import Problem as Problem
from .errors import RateLimitedError as RateLimitedError
from .errors import ServerError as ServerError
from .errors import SessionClosedError as SessionClosedError
from .errors import StillPendingError as StillPendingError
from .errors import StoreError as StoreError
from .errors import StoreRefusedError as StoreRefusedError
from .errors import TokenEndpointError as TokenEndpointError
from .errors import TokenError as TokenError
from .errors import UnauthorizedError as UnauthorizedError
from .errors import UnknownOutcomeError as UnknownOutcomeError
from .errors import VBCError as VBCError
from .errors import WebhookError as WebhookError
from .options import RequestOptions as RequestOptions
from .options import SessionOptions as SessionOptions
from .options import SharedOptions as SharedOptions
from .session import VBCSession as VBCSession
from .stores import FileStore as FileStore
from .stores import MemoryStore as MemoryStore
from .stores import RedisStore as RedisStore
from .stores import TokenStore as TokenStore
from .token.events import LedgerEntry as LedgerEntry
from .token.events import LiveToken as LiveToken
from .token.events import MintFailed as MintFailed
from .token.events import PoolEnded as PoolEnded
from .token.events import RefreshFailed as RefreshFailed
from .token.events import StoreRecovered as StoreRecovered
from .token.events import StoreUnavailable as StoreUnavailable
from .token.events import TokenAdopted as TokenAdopted
from .token.events import TokenEvent as TokenEvent
from .token.events import TokenMinted as TokenMinted
from .token.events import TokenRejected as TokenRejected
from .token.events import TokenStatus as TokenStatus
from .token.model import AccessToken as AccessToken
from .token.policy import TokenPolicy as TokenPolicy

__version__: str

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIPolicy",
    "AccessToken",
    "AcknowledgedChunk",
    "BadRequestError",
    "Batch",
    "BatchStatus",
    "BusinessNumber",
    "CallFinished",
    "CallOptions",
    "CallRecord",
    "Calls",
    "Chunk",
    "ChunkResult",
    "ClaimLostError",
    "ConfigurationError",
    "Credentials",
    "CredentialsRejectedError",
    "FailedChunk",
    "FailureReason",
    "FeatureSet",
    "FileStore",
    "ForbiddenError",
    "InvalidChunk",
    "InvalidRecordError",
    "Label",
    "Labels",
    "LedgerEntry",
    "LiveToken",
    "MemoryStore",
    "MintFailed",
    "MintQuotaExhaustedError",
    "NotDeliveredError",
    "NotFoundError",
    "Numbers",
    "NumbersRefusedError",
    "NumbersResult",
    "PaceExceededError",
    "PartlyDoneError",
    "PoolEnded",
    "Problem",
    "Progress",
    "PushResult",
    "RateLimitedError",
    "RecordStatus",
    "RedisStore",
    "RefreshFailed",
    "RequestOptions",
    "ServerError",
    "SessionClosedError",
    "SessionOptions",
    "SharedOptions",
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
    "VBCAccounts",
    "VBCError",
    "VBCSession",
    "WebhookError",
]
