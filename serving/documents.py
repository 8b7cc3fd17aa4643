"""What the OpenAPI document says about each address, and the document itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse

from serving import contract
from serving.errors import (
    BodyTooLarge,
    InvalidRequest,
    LakeUnreadable,
    MethodNotAllowed,
    NotFound,
    NotReady,
    ServiceError,
)
from serving.page import CONTENT_SECURITY_POLICY, render
from serving.parameters import PRODUCTS_LIMIT, ProductsRequest
from serving.problems import PROBLEM
from serving.shapes import SHAPES

DESCRIPTION = (
    "Click-through rates of products: purchases divided by product views, by bucket, platform and product. "
    "Views come from the event files, purchases from the purchase database; nightly jobs count both into Delta tables "
    "and publish them, and every answer comes from exactly one publication (header `X-Data-Version`). "
    "Errors are problem documents (RFC 9457) with a stable `code`."
)

_REF = "#/components/schemas/{model}"
_PROBLEMS: dict[int, tuple[type[ServiceError], ...]] = {
    404: (NotFound,),
    405: (MethodNotAllowed,),
    413: (BodyTooLarge,),
    422: (InvalidRequest,),
    500: (ServiceError,),
    503: (NotReady, LakeUnreadable),
}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}


def _parameter(name: str, about: str, schema: dict[str, Any], required: bool = False, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": about, "schema": schema, **more}


_TEXT = {"type": "string"}
_ZONED = (
    "`YYYY-MM-DD HH:MM:SS`; `T` instead of the space, no seconds, and an offset such as `Z` or `-03:00` are accepted"
)
_CTR_PARAMETERS = [
    _parameter(
        "startTimestamp",
        f"Start of the range and of the first bucket. {_ZONED}. Without an offset it is read in `timezone`; "
        "of a time that the clocks show twice the first is meant.",
        _TEXT,
        required=True,
        example="2016-01-03 13:55:00",
    ),
    _parameter(
        "endTimestamp",
        "End of the range, not part of it; cuts the last bucket. Written like `startTimestamp`.",
        _TEXT,
        required=True,
        example="2016-01-04 13:55:00",
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
        {"type": "array", "items": _TEXT},
    ),
    _parameter("timezone", "IANA zone in which times are read and written.", {**_TEXT, "default": "UTC"}),
    _parameter(
        "detail",
        "`true` adds `views`, `purchases`, `bucketEnd` and `status` to each row.",
        {"type": "boolean", "default": False},
    ),
]

_ROW = {"timestamp": "2016-01-03 13:55:00", "platform": "iOS", "product": "20001829_048", "CTR": 0.0150}
_ROWS_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _ref("CtrRow")},
        {"type": "array", "items": _ref("CtrDetailRow")},
    ]
}
_ROWS_EXAMPLES = {
    "rows": {"summary": "The response of the case", "value": [_ROW]},
    "detail": {
        "summary": "The same with detail=true",
        "value": [
            {**_ROW, "views": 200, "purchases": 3, "bucketEnd": "2016-01-03 14:55:00", "status": "final"},
        ],
    },
}
_HEADERS = {
    "ETag": "changes with the data and the request",
    "X-Data-Version": "number of the publication that the answer comes from",
    "X-Watermark": "up to when views and purchases of the platforms asked for are known; absent while unknown",
    "X-Row-Count": "rows of the answer; absent when it is streamed",
    "Server-Timing": "the tables that answered, and the milliseconds of the query",
    "X-Request-Id": "the id of the request in the log",
}


def _operation(
    summary: str,
    schema: dict[str, Any],
    codes: Iterable[int],
    headers: Iterable[str] = ("X-Request-Id",),
    examples: dict[str, Any] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """What one route is given: its summary, its answers, and the parameters or the body in ``extra``."""
    content: dict[str, Any] = {"schema": schema, **({"examples": examples} if examples else {})}
    told = {name: {"description": _HEADERS[name], "schema": _TEXT} for name in headers}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": "The answer", "content": {"application/json": content}, "headers": told}
    }
    if "ETag" in headers:
        responses[304] = {"description": "What the client has (`If-None-Match`) is still the answer"}
    responses.update({code: _problem(code) for code in codes})
    return {"summary": summary, "responses": responses, "response_model": None, "openapi_extra": extra}


def _problem(code: int) -> dict[str, Any]:
    kinds = _PROBLEMS[code]
    answer: dict[str, Any] = {
        "description": ", ".join(f"{kind.title} (`{kind.code}`)" for kind in kinds),
        "content": {PROBLEM: {"schema": _ref("Problem")}},
    }
    if code == 503:
        answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return answer


GET_CTR = _operation(
    "CTR by bucket, platform and product, from the newest publication",
    _ROWS_SCHEMA,
    (422, 500, 503),
    _HEADERS,
    _ROWS_EXAMPLES,
    parameters=_CTR_PARAMETERS,
)
_BODY_EXAMPLE = {
    "startTimestamp": "2016-01-03 13:55:00",
    "endTimestamp": "2016-01-04 13:55:00",
    "aggregation": 60,
    "product": ["20001829_048", "20005748_001"],
    "platform": "iOS",
}
POST_CTR = _operation(
    "CTR by bucket, platform and product; parameters in a JSON body",
    _ROWS_SCHEMA,
    (413, 422, 500, 503),
    [name for name in _HEADERS if name != "ETag"],
    _ROWS_EXAMPLES,
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": _ref("CtrBody"), "example": _BODY_EXAMPLE}},
    },
)
PRODUCTS = _operation(
    "Names of products in the newest publication, sorted",
    {"type": "array", "items": _TEXT},
    (422, 500, 503),
    ("ETag", "X-Data-Version", "X-Row-Count", "X-Request-Id"),
    {"products": {"value": ["20001829_002", "20001829_048"]}},
    parameters=[
        _parameter(
            "search",
            "Only names that contain this text, in any case. No character has a special meaning.",
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
PLATFORMS = _operation(
    "The platforms that can be asked for",
    {"type": "array", "items": {"enum": list(contract.PLATFORMS)}},
    (422, 503),
    ("X-Data-Version", "X-Request-Id"),
    {"platforms": {"value": list(contract.PLATFORMS)}},
)
STATUS = _operation(
    "Data version, watermarks, coverage, missing days and last runs",
    _ref("Status"),
    (422, 503),
    ("X-Data-Version", "X-Watermark", "X-Request-Id"),
)
LIVE = _operation("The process runs", _ref("Live"), ())
READY = _operation("There is a publication to answer from", _ref("Ready"), (503,))


def add_docs(app: FastAPI) -> None:
    """Give the application its OpenAPI document and the page that shows it. The page loads nothing from elsewhere."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        """The reference of the service, made from the OpenAPI document."""
        return HTMLResponse(render(app.openapi()), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, definitions = models_json_schema([(shape, "validation") for shape in SHAPES], ref_template=_REF)
    document.setdefault("components", {})["schemas"] = definitions["$defs"]
    return document
