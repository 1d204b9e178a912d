"""List, publish and delist the account's numbers (`vbc.numbers`)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, Unpack, cast

from ..durations import as_duration
from ..errors import (
    ConfigurationError,
    InvalidRecordError,
    NumbersRefusedError,
    PartlyDoneError,
    Problem,
    StillPendingError,
    VBCError,
)
from ..secret import SecretBytes
from .client import ApiClient, ApiRequest
from .lists import ListPage, Numbering, as_params, pages
from .models import BusinessNumber, FeatureSet, Status
from .number_results import NumbersResult, Operation, is_refusal, is_result, merge_results, read_number_result
from .policy import APIPolicy, CallOptions
from .records import is_e164, masked_number_problem, without_plus
from .responses import JSON, Envelope, read_envelope
from .wire import is_list_of, read_list, spelled

MAX_NUMBERS: Final = 10_000
"""Numbers in one request (API reference, "Rate limits and size limits")."""

_FEATURE_SETS: Final = "/clients/{account}/number_management/feature_sets"
_NUMBERS: Final = "/clients/{account}/number_management/numbers"
_KEYS: Final = ("id", "name", "phone_number")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Numbers:
    """Manage the numbers of the account and their feature sets (API reference, "Number management").

    Args:
        client: client that sends the requests.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._numbering = {_FEATURE_SETS: Numbering(), _NUMBERS: Numbering()}

    async def feature_sets(
        self,
        *,
        department_id: str | None = None,
        operation_id: str | None = None,
        process_id: str | None = None,
        limit: int | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[FeatureSet]:
        """Yield all feature sets, reading pages as they are needed.

        Args:
            department_id: only those of this department.
            operation_id: only those of this operation.
            process_id: only those of this process or sub-process.
            limit: items per page; None for the server's default.
            options: ``timeout=`` and ``attempts=`` of each page, as in `Calls.push`.

        Raises:
            APIError: the API refused it.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        filters = {"department_id": department_id, "operation_id": operation_id, "process_id": process_id}
        fetch = partial(self._page, _FEATURE_SETS, FeatureSet, {**filters, "limit": limit}, options)
        async for page in pages(fetch, lambda item: item.id, self._numbering[_FEATURE_SETS]):
            for item in page:
                yield item

    async def numbers(
        self,
        *,
        feature_set_id: str | None = None,
        department_id: str | None = None,
        operation_id: str | None = None,
        process_id: str | None = None,
        limit: int | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncGenerator[BusinessNumber]:
        """Yield all numbers, reading pages as they are needed.

        Args:
            feature_set_id: only those of this feature set.
            department_id: only those of this department.
            operation_id: only those of this operation.
            process_id: only those of this process.
            limit: items per page; None for the server's default.
            options: ``timeout=`` and ``attempts=`` of each page, as in `Calls.push`.

        Raises:
            APIError: as `feature_sets`.
            TokenError: as `feature_sets`.
            APIConnectionError: as `feature_sets`.
        """
        filters = {
            "feature_set_id": feature_set_id,
            "department_id": department_id,
            "operation_id": operation_id,
            "process_id": process_id,
        }
        fetch = partial(self._page, _NUMBERS, BusinessNumber, {**filters, "limit": limit}, options)
        async for page in pages(fetch, name_of, self._numbering[_NUMBERS]):
            for item in page:
                yield item

    async def publish(
        self, feature_set_id: str, numbers: Iterable[str], **options: Unpack[CallOptions]
    ) -> NumbersResult:
        """List numbers in a feature set. The server does it later (see `wait_until_listed`).

        More than 10,000 numbers are sent in several requests, one after the other.

        Args:
            feature_set_id: ID of the feature set.
            numbers: numbers in E.164; duplicates are sent once.
            options: ``timeout=`` and ``attempts=`` of each request, as in `Calls.push`.

        Raises:
            InvalidRecordError: some numbers are not in E.164; the error names each. Nothing was sent.
            NumbersRefusedError: all numbers were refused; ``result`` says why.
            UnknownOutcomeError: the answer was lost; ``records`` has the numbers.
            PartlyDoneError: one of several requests failed; the error says what was done and what was not sent.
            APIError: the API refused it.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        return await self._change("publish", feature_set_id, numbers, options)

    async def delist(
        self, feature_set_id: str, numbers: Iterable[str], **options: Unpack[CallOptions]
    ) -> NumbersResult:
        """Remove numbers from a feature set. The server does it later; until then they cannot be listed again.

        Args:
            feature_set_id: ID of the feature set.
            numbers: as in `publish`.
            options: as in `publish`.

        Raises:
            NumbersRefusedError: for example, the set does not have these numbers; ``result`` says why.
            VBCError: as `publish`.
            APIConnectionError: as `publish`.
        """
        return await self._change("delist", feature_set_id, numbers, options)

    async def wait_until_listed(
        self, numbers: Iterable[str], *, timeout: float | timedelta, feature_set_id: str | None = None
    ) -> dict[str, BusinessNumber]:
        """Read the list of numbers, with growing pauses, until all of these are listed.

        The API cannot be asked for a single number (API reference, "Number details"), so each look reads the list up to
        the last of them.

        Args:
            numbers: in E.164.
            timeout: how long to wait, in seconds.
            feature_set_id: feature set to read; None for all.

        Returns:
            the numbers, keyed by their E.164 form.

        Raises:
            StillPendingError: the timeout passed; ``done`` has the listed numbers, ``pending`` the others.
            VBCError: as `numbers`.
            APIConnectionError: as `numbers`.
        """
        wanted = frozenset(check_numbers(numbers))
        listed: dict[str, BusinessNumber] = {}

        async def look() -> bool:
            await self._look(wanted, feature_set_id, listed)
            return len(listed) == len(wanted)

        limit = as_duration(timeout, owner="timeout=")
        if await self._client.poll_until(look, limit):
            return listed
        missing = wanted.difference(listed)
        raise StillPendingError(
            f"{len(missing)} of {len(wanted)} numbers are not listed after {limit}: see .pending, and look again later",
            done=listed,
            pending=missing,
        )

    async def _look(
        self, wanted: frozenset[str], feature_set_id: str | None, listed: dict[str, BusinessNumber]
    ) -> None:
        found = self.numbers(feature_set_id=feature_set_id)
        try:
            async for number in found:
                if number.status is Status.LISTED and number.phone_number in wanted:
                    listed[number.phone_number] = number
                    if len(listed) == len(wanted):
                        return
        finally:
            await found.aclose()

    async def _change(
        self, operation: Operation, feature_set_id: str, numbers: Iterable[str], options: CallOptions
    ) -> NumbersResult:
        if not _ID.fullmatch(feature_set_id):
            raise ConfigurationError("feature_set_id must be the ID of a feature set: letters, digits, '-' and '_'")
        given = check_numbers(numbers)
        policy = self._client.policy_for(options)
        parts = [given[first : first + MAX_NUMBERS] for first in range(0, len(given), MAX_NUMBERS)]
        results: list[NumbersResult] = []
        answers: list[tuple[int, Envelope]] = []

        def accept(status: int, answer: JSON) -> bool:
            answers.append((status, read_envelope(answer) or Envelope()))
            return is_refusal(answer)

        for part in parts:
            try:
                results.append(await self._change_part(operation, feature_set_id, part, accept, policy))
            except VBCError as error:
                if len(parts) == 1:
                    raise
                unsent = given[(len(results) + 1) * MAX_NUMBERS :]
                raise PartlyDoneError(
                    f"{operation} stopped at request {len(results) + 1} of {len(parts)}: {error}; "
                    "see .done, .failed and .unsent",
                    done=merge_results(results),
                    failed=part,
                    unsent=unsent,
                ) from error
        result = merge_results(results)
        if result.status is Status.FAILED:
            status, said = answers[-1]
            told = f": {said.message}" if said.message else ""
            refusal = NumbersRefusedError(
                f"none of the {len(given)} numbers was taken ({result}){told}; see .result",
                status=status,
                slug=said.slug,
                message=said.message or str(result.status),
                field=said.field,
            )
            refusal.result = result
            raise refusal
        return result

    async def _change_part(
        self,
        operation: Operation,
        feature_set_id: str,
        part: Sequence[str],
        accept: Callable[[int, JSON], bool],
        policy: APIPolicy | None,
    ) -> NumbersResult:
        body = SecretBytes(json.dumps({"phone_numbers": [without_plus(number) for number in part]}).encode())
        path = f"{_FEATURE_SETS}/{feature_set_id}/numbers/{operation}"

        def read(answer: JSON) -> NumbersResult | None:
            return read_number_result(operation, cast(dict[str, Any], answer), part) if is_result(answer) else None

        call = f"numbers.{operation}"
        return await self._client.send(
            ApiRequest("POST", path, read, body, records=part, accept=accept, call=call, policy=policy)
        )

    async def _page(
        self, path: str, kind: type[Any], query: dict[str, Any], options: CallOptions, page: int | None
    ) -> ListPage:
        name = path.rpartition("/")[2]
        read = partial(_read_page, name, kind)
        params, policy = as_params({**query, "page": page}), self._client.policy_for(options)
        return await self._client.send(
            ApiRequest("GET", path, read, params=params, call=f"numbers.{name}", policy=policy)
        )


def _read_page(name: str, kind: type[Any], answer: JSON) -> ListPage | None:
    if not isinstance(answer, dict):
        return ListPage(read_list(answer, kind)) if is_list_of(answer, *_KEYS) else None
    fields = cast(dict[str, Any], answer)
    items, about = spelled(fields, name), spelled(fields, "pagination_information")
    # An empty list may be null or left out.
    if not is_list_of(items, *_KEYS) and (items is not None or (about is None and name not in fields)):
        return None
    total = spelled(cast(dict[str, Any], about), "total_page_count") if isinstance(about, dict) else None
    return ListPage(read_list(items, kind), total if type(total) is int and total >= 0 else None)


def name_of(number: BusinessNumber) -> tuple[str, str] | None:
    """Return the key that identifies an entry of the list; None for an entry without a number."""
    return (number.phone_number, number.feature_set_name) if number.phone_number else None


def check_numbers(numbers: Iterable[str]) -> tuple[str, ...]:
    """Return the numbers without duplicates, in their order.

    Raises:
        InvalidRecordError: some are not in E.164, or the list is empty; the error names each.
    """
    if isinstance(numbers, str):
        raise InvalidRecordError([Problem("phone_numbers", "must be several numbers: put a single one into a list")])
    given: tuple[object, ...] = tuple(numbers)
    problems = [
        Problem("phone_numbers", masked_number_problem(number), position)
        for position, number in enumerate(given)
        if not isinstance(number, str) or not is_e164(number)
    ]
    if not given:
        problems.append(Problem("phone_numbers", "is empty: at least one number is needed"))
    if problems:
        raise InvalidRecordError(problems)
    return tuple(dict.fromkeys(number for number in given if isinstance(number, str)))
