"""Name the account in events and log lines: by a short hash of its ID, and the ID of the API key."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol

import attrs

from .serialization import Serializable

_log: Final = logging.getLogger("truecaller_vbc")


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


class Account(Protocol):
    """What can say which account it is of."""

    def identity(self) -> tuple[str, str]:
        """Return a short hash of the account's ID, and the key ID; empty until they are known."""
        ...


class AccountLog:
    """Log sentences that end with the account and the key ID, once they are known.

    Args:
        account: says which account it is.
    """

    # Not a `logging.LoggerAdapter`, whose dictionary would take a twentieth of the memory of an idle session.
    __slots__ = ("account",)

    def __init__(self, account: Account) -> None:
        self.account: Account = account

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - as loggers have it
        """Tell whether sentences of this level are logged."""
        return _log.isEnabledFor(level)

    def warning(self, msg: str, *args: object) -> None:
        """Log a warning."""
        self._write(logging.WARNING, msg, args)

    def error(self, msg: str, *args: object) -> None:
        """Log an error."""
        self._write(logging.ERROR, msg, args)

    def exception(self, msg: str, *args: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, msg, args, exc_info=True)

    def log(self, level: int, msg: str, *args: object, extra: Mapping[str, object] | None = None) -> None:
        """Log one sentence; the two are also fields of the record, beside `extra`."""
        self._write(level, msg, args, extra=extra)

    def _write(
        self,
        level: int,
        msg: str,
        args: tuple[object, ...],
        *,
        extra: Mapping[str, object] | None = None,
        exc_info: bool = False,
    ) -> None:
        if _log.isEnabledFor(level):
            account, key_id = self.account.identity()
            fields = {"vbc_account": account, "vbc_key_id": key_id, **(extra or {})}
            if account:
                msg, args = f"{msg} (account %s, key %s)", (*args, account, key_id)
            _log.log(level, msg, *args, extra=fields, exc_info=exc_info, stacklevel=3)
