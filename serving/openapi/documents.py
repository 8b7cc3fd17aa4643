"""What the OpenAPI document says about each address, and the document itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serving import contract
from serving.access.access import needed_scope
from serving.errors import (
    BodyTooLarge,
    BodyTooSlow,
    Broken,
    Busy,
    Forbidden,
    HeadTooLarge,
    HeadTooSlow,
    HeavyProcessLost,
    InvalidRequest,
    LakeUnreadable,
    Loading,
    MalformedRequest,
    MethodNotAllowed,
    MissingDays,
    NotAcceptable,
    NotReady,
    OutOfMemory,
    PublicationGone,
    PublicationUnknown,
    QueryTimeout,
    ServiceError,
    TokenKeysUnavailable,
    TooManyRequests,
    Unauthorized,
    UrlTooLong,
)
from serving.openapi.page import CONTENT_SECURITY_POLICY, LIMITS, render
from serving.openapi.shapes import SHAPES, TIME_PATTERN
from serving.reply.problems import PROBLEM
from serving.request.formats import FORMATS, JSON
from serving.request.parameters import FILLS, LEVELS, PRODUCTS_LIMIT, ProductsRequest
from serving.settings import Settings

DESCRIPTION = (
    "Click-through rates of products: purchases divided by product views, by bucket, platform and product. "
    "Views come from the event files, purchases from the purchase database; nightly jobs count both into Delta tables "
    "and publish them, and every answer comes from exactly one publication (header `X-Data-Version`). "
    "Errors are problem documents (RFC 9457) with a stable `code`; an address that is not there is 404 (`not_found`), the "
    "preflight of a page that may not ask is 403 (`cors_refused`)."
)

_LIMITS = (
    *("range_days", "buckets", "filter_products", "json_rows", "download_rows", "query_seconds"),
    *("url_bytes", "body_bytes", "header_bytes", "request_seconds", "stream_seconds", "key_requests"),
)
"""Settings that bound what a client may ask for."""

_REF = "#/components/schemas/{model}"
_ANYWHERE = (MalformedRequest, MethodNotAllowed, NotAcceptable, HeadTooSlow, UrlTooLong, HeadTooLarge, ServiceError)
"""By the head alone, whatever the address; and what nobody expected."""

_CLOSED = (Unauthorized, Forbidden, TooManyRequests, TokenKeysUnavailable)
_SERVED = (NotReady, Loading, Broken)
_QUERY = (LakeUnreadable, Busy, QueryTimeout)
_CTR = (
    *_CLOSED,
    *_SERVED,
    *_QUERY,
    OutOfMemory,
    HeavyProcessLost,
    InvalidRequest,
    PublicationUnknown,
    PublicationGone,
    MissingDays,
)


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}


def _parameter(name: str, about: str, schema: dict[str, Any], required: bool = False, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": about, "schema": schema, **more}


_TEXT = {"type": "string"}
_TIME = {"type": "string", "pattern": TIME_PATTERN}
_ZONED = (
    "`YYYY-MM-DD HH:MM:SS`; `T` instead of the space, no seconds, and an offset such as `Z` or `-03:00` are accepted"
)
_CTR_PARAMETERS = [
    _parameter(
        "startTimestamp",
        f"Start of the range and of the first bucket. {_ZONED}. Without an offset it is read in `timezone`; "
        "of a time that the clocks show twice the first is meant.",
        _TIME,
        required=True,
        example="2016-02-02 13:55:00",
    ),
    _parameter(
        "endTimestamp",
        "End of the range, not part of it; cuts the last bucket. Written like `startTimestamp`.",
        _TIME,
        required=True,
        example="2016-02-03 13:55:00",
    ),
    _parameter(
        "aggregation",
        "Length of a bucket in minutes. Buckets begin at `startTimestamp`. With a `timezone` other than UTC, "
        "multiples of 1440 are calendar days of that zone.",
        {"type": "integer", "minimum": 1},
        required=True,
        example=60,
    ),
    _parameter(
        "product",
        "Only these products; may repeat. Left out: one row for each product.",
        {"type": "array", "items": {"type": "string", "minLength": 1}},
    ),
    _parameter(
        "platform",
        f"Only these platforms ({', '.join(contract.PLATFORMS)}, any case); may repeat. Left out: one row for each.",
        {"type": "array", "items": {"type": "string", "enum": list(contract.PLATFORMS)}},
    ),
    _parameter("timezone", "IANA zone in which times are read and written.", {**_TEXT, "default": "UTC"}),
    _parameter(
        "asOf",
        "Number of the publication to answer from (`X-Data-Version` of an earlier answer), while it is kept. "
        "Left out: the newest.",
        {"type": "integer", "minimum": 1},
    ),
    _parameter(
        "detail",
        "`true` adds `views`, `purchases`, `bucketEnd` and `status` to each row.",
        {"type": "boolean", "default": False},
    ),
    _parameter(
        "strict",
        "`true` refuses a range that touches a missing day of a platform asked for (409, which lists them): a day "
        "before the first of the platform, one between the first and the last that has no view, and one of which event files "
        "are still to be loaded. Later days are provisional, not missing.",
        {"type": "boolean", "default": False},
    ),
    _parameter(
        "fill",
        "`zero` adds rows of zero counts, CTR null: every bucket has a row for each platform and product that the answer "
        "has, and for each product asked for by name on each platform asked for, or on all.",
        {"type": "string", "enum": list(FILLS), "default": FILLS[0]},
    ),
    _parameter(
        "ci",
        "Level of confidence; adds `ciLow` and `ciHigh`, the ends of Wilson's score interval, rounded half up to four "
        "digits like CTR; null where CTR is null or above 1.",
        {"type": "number", "minimum": LEVELS[0], "maximum": LEVELS[1]},
    ),
    _parameter(
        "format",
        "Form of the answer; goes before the header `Accept`, by which it is chosen else. "
        '`ndjson` ends with a line that counts the others: `{"rows":1,"dataVersion":7}`. '
        "`arrow` (IPC stream) and `parquet` have typed columns: times as instants in `timezone`, CTR as the nearest "
        "double; `dataVersion` is in the schema's metadata, `rows` in those of Parquet's footer or Arrow's last batch.",
        {"enum": list(FORMATS), "type": "string", "default": JSON},
    ),
]

_ROW = {"timestamp": "2016-02-02 13:55:00", "platform": "iOS", "product": "20001829_048", "CTR": 0.0150}
_ROWS_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _ref("CtrRow")},
        {"type": "array", "items": _ref("CtrDetailRow")},
        {"type": "array", "items": _ref("CtrCiRow")},
        {"type": "array", "items": _ref("CtrDetailCiRow")},
    ]
}
_ROWS_EXAMPLES = {
    "rows": {"summary": "The response of the case", "value": [_ROW]},
    "detail": {
        "summary": "The same with detail=true",
        "value": [
            {**_ROW, "views": 200, "purchases": 3, "bucketEnd": "2016-02-02 14:55:00", "status": "final"},
        ],
    },
}
_OTHER_FORMS: dict[str, Any] = {
    format.media_type: {"schema": {"type": "string", **({"format": "binary"} if format.typed else {})}}
    for format in FORMATS.values()
    if format.name != JSON
}
_HEADERS = {
    "ETag": "changes with the data, the request, the format and the content coding",
    "Vary": "by these headers of a request the same address has several answers: `Accept-Encoding`, for CTR `Accept`, and "
    "`Authorization`, `X-API-Key` where access is closed",
    "X-Data-Version": "number of the publication that the answer comes from",
    "X-Watermark": "up to when views and purchases of the platforms asked for are known; absent while unknown",
    "X-Row-Count": "rows of the answer; absent when it is streamed",
    "X-Source": "with `detail`: the tables that answered, and whether from the replica or from Delta",
    "Content-Disposition": "a name for the file; absent in JSON",
    "Content-Encoding": "`gzip` or `zstd`, as `Accept-Encoding` likes; also of streams",
    "Server-Timing": "the tables that answered, whether from the replica or from Delta, and the milliseconds of the query",
    "X-Request-Id": "the id of the request in the log",
    "RateLimit": "where access is closed: the requests that the key has left, and in how many seconds there are more",
    "RateLimit-Policy": "where access is closed: the requests a minute that the key has",
    "X-Platforms": "of a key that is bound to platforms: which they are",
}
_ALWAYS = ("Vary", "Content-Encoding", "X-Request-Id")
_OF_KEYS = ("RateLimit", "RateLimit-Policy", "X-Platforms")

EXPOSED = (*_HEADERS, "Retry-After")
"""Headers that pages of other origins may read."""


def _operation(
    summary: str,
    schema: dict[str, Any],
    refusals: Iterable[type[ServiceError]],
    headers: Iterable[str] = (),
    examples: dict[str, Any] | None = None,
    other_forms: dict[str, Any] | None = None,
    media_type: str = "application/json",
    **extra: Any,
) -> dict[str, Any]:
    """What one route is given: its summary, its answers, and the parameters or the body in ``extra``."""
    content: dict[str, Any] = {"schema": schema, **({"examples": examples} if examples else {})}
    refusals = (*_ANYWHERE, *refusals)
    given = {*headers, *_ALWAYS, *(_OF_KEYS if Unauthorized in refusals else ())}
    told = {name: {"description": about, "schema": _TEXT} for name, about in _HEADERS.items() if name in given}
    responses: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The answer",
            "content": {media_type: content, **(other_forms or {})},
            "headers": told,
        }
    }
    if "ETag" in given and "requestBody" not in extra:
        responses[304] = {"description": "What the client has (`If-None-Match`) is still the answer"}
    for status in sorted({kind.status for kind in refusals}):
        responses[status] = _problem(status, [kind for kind in refusals if kind.status == status])
    told_class = {} if media_type == "application/json" else {"response_class": Response}  # else JSON is listed, too
    return {"summary": summary, "responses": responses, "response_model": None, "openapi_extra": extra, **told_class}


def _problem(status: int, kinds: Iterable[type[ServiceError]]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": ", ".join(f"{kind.title} (`{kind.code}`)" for kind in kinds),
        "content": {PROBLEM: {"schema": _ref("Problem")}},
    }
    if status in _HEADERS_OF_PROBLEMS:
        name, about = _HEADERS_OF_PROBLEMS[status]
        answer["headers"] = {name: {"description": about, "schema": _TEXT}}
    return answer


_HEADERS_OF_PROBLEMS = {
    401: ("WWW-Authenticate", "`Bearer`, and whether it was a key or token that is not valid (RFC 6750)"),
    405: ("Allow", "the methods that there are"),
    409: ("X-Data-Version", "number of the publication that lacks the days"),
    429: ("Retry-After", "seconds"),
    503: ("Retry-After", "seconds"),
}


GET_CTR = _operation(
    "CTR by bucket, platform and product, from the newest publication",
    _ROWS_SCHEMA,
    _CTR,
    _HEADERS,
    _ROWS_EXAMPLES,
    _OTHER_FORMS,
    parameters=_CTR_PARAMETERS,
)
_BODY_EXAMPLE = {
    "startTimestamp": "2016-02-02 13:55:00",
    "endTimestamp": "2016-02-03 13:55:00",
    "aggregation": 60,
    "product": ["20001829_048", "20005748_001"],
    "platform": "iOS",
}
POST_CTR = _operation(
    "CTR by bucket, platform and product; parameters in a JSON body",
    _ROWS_SCHEMA,
    (*_CTR, BodyTooLarge, BodyTooSlow),
    _HEADERS,
    _ROWS_EXAMPLES,
    _OTHER_FORMS,
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": _ref("CtrBody"), "example": _BODY_EXAMPLE}},
    },
)
PRODUCTS = _operation(
    "Names of products in the newest publication, sorted; those nearest to the search first",
    {"type": "array", "items": _TEXT},
    (*_CLOSED, *_SERVED, *_QUERY, OutOfMemory, InvalidRequest),
    ("ETag", "X-Data-Version", "X-Row-Count"),
    {"products": {"value": ["20001829_002", "20001829_048"]}},
    parameters=[
        _parameter(
            "search",
            "Only names that contain this text, in any case; first what is just it, then what begins with it. "
            "No character has a special meaning.",
            {**_TEXT, "default": ProductsRequest.search},
            example="20001829",
        ),
        _parameter(
            "limit",
            "Most names in the answer.",
            {"type": "integer", "minimum": 1, "maximum": PRODUCTS_LIMIT, "default": ProductsRequest.limit},
        ),
    ],
)
CHANGES = _operation(
    "The days whose counts changed since a publication, so that clients ask again for those only",
    _ref("Changes"),
    (*_CLOSED, *_SERVED, *_QUERY, InvalidRequest, PublicationUnknown, PublicationGone),
    ("ETag", "X-Data-Version", "X-Row-Count"),
    parameters=[
        _parameter(
            "since",
            "Number of the publication that the client knows (`X-Data-Version`).",
            {"type": "integer", "minimum": 1},
            required=True,
            example=1,
        ),
    ],
)
PLATFORMS = _operation(
    "The platforms that can be asked for",
    {"type": "array", "items": {"enum": list(contract.PLATFORMS)}},
    (*_CLOSED, *_SERVED, InvalidRequest),
    ("ETag", "X-Data-Version"),
    {"platforms": {"value": list(contract.PLATFORMS)}},
)
STATUS = _operation(
    "Data version, watermarks, coverage, missing days and last runs",
    _ref("Status"),
    (*_CLOSED, *_SERVED, InvalidRequest),
    ("X-Data-Version", "X-Watermark"),
)
METRICS = _operation(
    "Counts and state in Prometheus' text form",
    _TEXT,
    _CLOSED,
    media_type="text/plain",
)
LIVE = _operation("The process runs", _ref("Live"), ())
READY = _operation("There is a publication to answer from; if not, `code` tells why", _ref("Ready"), _SERVED)


def add_docs(app: FastAPI, settings: Settings) -> None:
    """Give the application its OpenAPI document and, unless it is closed, the page that shows it.

    The page loads nothing from elsewhere.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, settings)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    if not settings.docs:
        return

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        """The reference of the service, made from the OpenAPI document."""
        return HTMLResponse(
            render(app.openapi(), str(request.base_url).rstrip("/")),
            headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
        )


def _document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, definitions = models_json_schema([(shape, "validation") for shape in SHAPES], ref_template=_REF)
    document.setdefault("components", {})["schemas"] = definitions["$defs"]
    document["info"][LIMITS] = {
        name: {"value": getattr(settings, name), "description": Settings.model_fields[name].description}
        for name in _LIMITS
    }
    if settings.closed:
        _add_security(document, settings)
    return document


def _add_security(document: dict[str, Any], settings: Settings) -> None:
    """Say which addresses want a key or a token, of which scope, and in which header."""
    forms = [*(["API key"] if settings.api_keys_file else []), *(["JWT"] if settings.jwt_jwks else [])]
    about = f"{' or '.join(forms)} of the scope that the operation names"
    schemes: dict[str, Any] = {"bearer": {"type": "http", "scheme": "bearer", "description": about}}
    if settings.api_keys_file:
        schemes["apiKey"] = {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "an API key"}
    else:
        schemes["bearer"]["bearerFormat"] = "JWT"
    document["components"]["securitySchemes"] = schemes
    for path, methods in document["paths"].items():
        scope = needed_scope(path)
        for operation in methods.values():
            operation["security"] = [{name: [scope]} for name in schemes] if scope else []
