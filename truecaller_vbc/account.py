"""Name the account in events and log lines: by a short hash of its ID, and the ID of the API key."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs

from .serialization import Serializable


def _class_name(event: object) -> str:
    return type(event).__name__


@attrs.frozen
class AccountEvent(Serializable):
    """What all events have.

    Attributes:
        account: a short hash of the account's ID, to tell accounts apart.
        key_id: of the API key.
        event: the name of its class.
    """

    account: str = attrs.field(default="", kw_only=True)
    key_id: str = attrs.field(default="", kw_only=True)
    event: str = attrs.field(default=attrs.Factory(_class_name, takes_self=True), init=False, repr=False)


class AccountLog(logging.LoggerAdapter[logging.Logger]):
    """Log sentences that end with the account, as a short hash of its ID, and the key ID, once they are known.

    Args:
        identity: returns the two.
    """

    def __init__(self, identity: Callable[[], tuple[str, str]]) -> None:
        super().__init__(logging.getLogger("truecaller_vbc"))
        self.identity = identity

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log one sentence; the two are also fields of the record."""
        if self.isEnabledFor(level):
            account, key_id = self.identity()
            extra = {"vbc_account": account, "vbc_key_id": key_id, **kwargs.pop("extra", {})}
            if account:
                msg, args = f"{msg} (account %s, key %s)", (*args, account, key_id)
            self.logger.log(level, msg, *args, extra=extra, stacklevel=2, **kwargs)
