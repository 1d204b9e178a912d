"""Send models, statuses and events through JSON, pydantic and web frameworks."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError

import truecaller_vbc
from truecaller_vbc import (
    BatchStatus,
    CallRecord,
    Chunk,
    FailedChunk,
    InvalidRecordError,
    Label,
    MintQuotaExhaustedError,
    NumbersResult,
    Problem,
    RecordStatus,
    RefreshFailed,
    Status,
    StatusInfo,
    TokenMinted,
    TokenStatus,
)
from truecaller_vbc.serialization import Serializable

from .asgi import call

START: Final = datetime(2026, 11, 26, 10, 0, 0, 7000, tzinfo=UTC)
FIELDS: Final[dict[str, Any]] = {
    "caller_number": "+911140000000",
    "receiver_number": "+919876543210",
    "starts_at": "2026-11-26T10:00:00.007000+00:00",
    "ends_at": "2026-11-26T11:00:00+00:00",
    "label_id": None,
    "dynamic_label_name": "The Bank",
    "dynamic_call_reason": None,
}
RECORD: Final = CallRecord.from_mapping(FIELDS)
BATCH: Final = BatchStatus(
    "account", "batch", (RecordStatus("id", starts_at=START, status_info=StatusInfo(Status("odd"), "text")),)
)
STATUS: Final = TokenStatus(
    state="stale",
    fingerprint="01234567",
    generation=2,
    expires_at=START,
    next_refresh_at=None,
    mints_in_window=1,
    mints_left=9,
    retry_at=None,
    last_error=MintQuotaExhaustedError("words", retry_at=START),
)
KINDS: Final[list[Any]] = [
    kind
    for name in truecaller_vbc.__all__
    if isinstance(kind := getattr(truecaller_vbc, name), type) and issubclass(kind, Serializable)
]


def test_to_dict_of_a_record_is_what_from_mapping_takes() -> None:
    """A record is written with its times in ISO 8601, and read again without a loss."""
    assert RECORD.to_dict() == FIELDS
    assert CallRecord.from_mapping(json.loads(json.dumps(RECORD.to_dict()))) == RECORD


def test_to_dict_is_json_ready() -> None:
    """Nested models, unknown words, sets, times and errors become plain JSON values."""
    assert BATCH.to_dict()["data"][0]["status_info"] == {"status": "odd", "message": "text", "field": ""}
    assert BATCH.to_dict()["data"][0]["starts_at"] == START.isoformat()
    assert NumbersResult(accepted=frozenset({"+912", "+911"})).to_dict()["accepted"] == ["+911", "+912"]
    error = {"type": "MintQuotaExhaustedError", "message": "words", "retry_at": START.isoformat()}
    assert STATUS.to_dict()["last_error"] == error
    assert RefreshFailed(MintQuotaExhaustedError("words", retry_at=START), None).to_dict()["error"] == error
    failed = FailedChunk(Chunk(0, 1, (RECORD,), (0,), ()), TimeoutError("late"))
    assert (failed.to_dict()["outcome"], failed.to_dict()["chunk"]["records"]) == ("unsent", [FIELDS])
    assert TokenMinted("01234567", 1, START, 9).to_dict()["event"] == "TokenMinted"
    for thing in (failed, BATCH, STATUS, TokenMinted("01234567", 1, START, 9), Problem("field", "text")):
        assert json.loads(json.dumps(thing.to_dict())) == thing.to_dict()


def test_every_model_status_and_event_has_to_dict() -> None:
    """All public attrs classes that hold data of the API or the token can be written; those with secrets cannot."""
    rest = {
        name
        for name in truecaller_vbc.__all__
        if attrs.has(kind := getattr(truecaller_vbc, name)) and not issubclass(kind, Serializable)
    }
    assert rest == {"APIPolicy", "AccessToken", "Credentials", "TokenPolicy"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_has_a_schema(kind: type[Any]) -> None:
    """Pydantic takes each class as a field, and describes all its fields for OpenAPI."""
    for mode in ("validation", "serialization"):
        schema = TypeAdapter(kind).json_schema(mode=mode)
        names = {field.name for field in attrs.fields(kind)}
        assert (schema["title"], set(schema.get("properties", ()))) == (kind.__name__, names)


@pytest.mark.parametrize(
    "thing",
    [
        RECORD,
        BATCH,
        TokenMinted("1", 1, START, 9),
        Label("id", created_at=START),
        NumbersResult(invalid=frozenset("1")),
    ],
)
def test_models_are_read_again(thing: Any) -> None:
    """What a model writes, pydantic reads into an equal model; an instance passes as it is."""
    adapter = TypeAdapter(type(thing))

    assert adapter.validate_json(adapter.dump_json(thing)) == thing
    assert adapter.validate_python(thing) is thing


@pytest.mark.parametrize("wrong", [{"data": 7}, {"odd": 1}, [], "text", None])
def test_wrong_objects_are_validation_errors(wrong: object) -> None:
    """Content that no model has written is pydantic's own error, not an error 500."""
    with pytest.raises(ValidationError, match="BatchStatus"):
        TypeAdapter(BatchStatus).validate_python(wrong)


def test_record_in_a_model_of_the_user() -> None:
    """A pydantic model of the user's own can have records in it, and each wrong field has its place."""

    class Campaign(BaseModel):
        records: list[CallRecord]

    assert Campaign.model_validate({"records": [FIELDS]}).records == [RECORD]
    wrong = {**FIELDS, "receiver_number": "12", "ends_at": None}
    with pytest.raises(ValidationError) as caught:
        Campaign.model_validate({"records": [FIELDS, wrong]})
    places = [error["loc"] for error in caught.value.errors()]
    assert places == [("records", 1, "receiver_number"), ("records", 1, "ends_at")]


def _checks(record: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRecordError) as caught:
        CallRecord.from_mapping(record)
    return [(problem.field, problem.text) for problem in caught.value.problems]


async def test_fastapi_body_and_response_models() -> None:
    """FastAPI checks a body by the library's own rules, answers 422 for each wrong field, and serves models."""
    app = FastAPI()

    @app.post("/record")
    async def take(record: CallRecord) -> CallRecord:
        return record

    @app.post("/records")
    async def take_all(records: list[CallRecord]) -> int:
        return len(records)

    @app.get("/labels")
    async def labels() -> list[Label]:
        return [Label("id", created_at=START)]

    @app.get("/status")
    async def status() -> TokenStatus:
        return STATUS

    @app.get("/batch", response_model=None)
    async def batch() -> Any:
        return BATCH.to_dict()

    wrong = {**FIELDS, "receiver_number": "0987 654 3210", "label_name": "odd", "dynamic_label_name": "{x}" * 40}
    status_code, refusal = await call(app, "POST", "/record", wrong)

    assert await call(app, "POST", "/record", FIELDS) == (200, FIELDS)
    assert await call(app, "POST", "/records", [FIELDS, FIELDS]) == (200, 2)
    assert status_code == 422
    assert [(error["loc"][1], error["msg"]) for error in refusal["detail"]] == _checks(wrong)
    assert (await call(app, "POST", "/record", []))[0] == 422
    assert await call(app, "GET", "/labels") == (200, [Label("id", created_at=START).to_dict()])
    assert await call(app, "GET", "/status") == (200, STATUS.to_dict())
    assert await call(app, "GET", "/batch") == (200, BATCH.to_dict())
    schemas = (await call(app, "GET", "/openapi.json"))[1]["components"]["schemas"]
    assert {"CallRecord", "Label", "TokenStatus"} <= set(schemas)


async def test_aiohttp_web() -> None:
    """An aiohttp.web handler answers with `to_dict`."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response([RECORD.to_dict(), STATUS.to_dict()])

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert await response.json() == [FIELDS, STATUS.to_dict()]


async def test_quart() -> None:
    """A Quart handler returns `to_dict`."""
    quart = pytest.importorskip("quart")
    app = quart.Quart("app")

    @app.get("/record")  # type: ignore[untyped-decorator]
    async def handler() -> dict[str, Any]:
        return RECORD.to_dict()

    assert await call(app, "GET", "/record") == (200, FIELDS)


async def test_litestar() -> None:
    """Litestar serves models by its own support for attrs, and `to_dict` too."""
    litestar = pytest.importorskip("litestar")

    @litestar.get("/labels")  # type: ignore[untyped-decorator]
    async def labels() -> list[Label]:
        return [Label("id", created_at=START)]

    @litestar.get("/record")  # type: ignore[untyped-decorator]
    async def handler() -> dict[str, Any]:
        return RECORD.to_dict()

    app = litestar.Litestar([labels, handler])
    assert (await call(app, "GET", "/labels"))[1][0]["id"] == "id"
    assert await call(app, "GET", "/record") == (200, FIELDS)


@pytest.mark.filterwarnings("ignore:.*body marker:DeprecationWarning")  # the marker is missing from older ones
async def test_litestar_checks_a_body() -> None:
    """A record as a body of Litestar is checked by the library's rules, and needs no optional field."""
    litestar = pytest.importorskip("litestar")

    @litestar.post("/record", status_code=200)  # type: ignore[untyped-decorator]
    async def handler(data: CallRecord) -> dict[str, Any]:
        return data.to_dict()

    app = litestar.Litestar([handler])
    sent = {**FIELDS, "starts_at": RECORD.starts_at, "ends_at": RECORD.ends_at}
    del sent["dynamic_call_reason"]
    assert await call(app, "POST", "/record", sent) == (200, FIELDS)
    status, answer = await call(app, "POST", "/record", {**sent, "caller_number": "911140000000"})
    assert (status, "a plus and the country code are needed" in str(answer)) == (400, True)


def test_record_is_a_dataclass_that_checks() -> None:
    """What builds a dataclass from its fields gets the optional ones and the checks."""
    defaults = {field.name for field in dataclasses.fields(CallRecord) if field.default is None}
    assert defaults == {"dynamic_label_name", "dynamic_call_reason"}
    record = CallRecord.__new__(CallRecord)
    for name, value in {**FIELDS, "caller_number": "911140000000"}.items():
        object.__setattr__(record, name, value)
    with pytest.raises(InvalidRecordError):
        record.__post_init__()


def test_problem_without_a_receiver() -> None:
    """A record without a receiver has problems without a receiver."""
    with pytest.raises(InvalidRecordError) as caught:
        CallRecord.from_mapping({})
    assert {problem.receiver for problem in caught.value.problems} == {""}


def test_pydantic_is_not_needed() -> None:
    """The models and `to_dict` work without pydantic, and do not import it."""
    code = (
        "import sys; sys.modules['pydantic'] = sys.modules['pydantic_core'] = None\n"
        "from truecaller_vbc import Label; print(Label('id').to_dict()['id'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("id\n", "")
