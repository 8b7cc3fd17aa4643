"""Answers from the newest publication: a request and a lease become a response with the facts in its headers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime, timezone
from time import perf_counter
from typing import Any

import duckdb
from starlette.responses import Response

from serving import VERSION
from serving.contract import PLATFORMS
from serving.encode import JSON, RowText, Stream
from serving.errors import LakeUnreadable
from serving.parameters import CtrRequest, ProductsRequest
from serving.plan import make_plan
from serving.publications import runs
from serving.queries import ctr, products
from serving.snapshot import PlatformFacts, Snapshot
from serving.store import Store


def answer_ctr(store: Store, request: CtrRequest, if_none_match: str | None, stream_rows: int) -> Response:
    """The CTR rows of a request: one piece, or a stream where there are more rows than ``stream_rows``."""
    began = perf_counter()
    lease = store.lease()
    try:
        headers = _headers(lease.snapshot, request)
        _set_watermark(headers, lease.snapshot, request.platforms or PLATFORMS)
        if _matches(if_none_match, headers["ETag"]):
            lease.close()
            return Response(status_code=304, headers=headers)
        plan = make_plan(request)
        query = ctr(request, plan, lease.snapshot)
        reader = lease.cursor.execute(query.sql, query.values).to_arrow_reader(stream_rows)
        text = RowText(reader, stream_rows)
        spent = (perf_counter() - began) * 1000
        headers["Server-Timing"] = f'plan;desc="{plan.sources}", query;dur={spent:.1f}'
        if text.rows is None:
            return Stream(text.chunks(), lease.close, headers)
        headers["X-Row-Count"] = str(text.rows)
        lease.close()
        return Response(text.whole(), headers=headers, media_type=JSON)
    except BaseException as error:
        lease.close()
        if isinstance(error, duckdb.IOException):
            raise LakeUnreadable from error
        raise


def answer_products(store: Store, request: ProductsRequest, if_none_match: str | None) -> Response:
    """Names of products, a JSON array of texts."""
    with store.lease() as lease:
        headers = _headers(lease.snapshot, request)
        if _matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        query = products(request, lease.snapshot)
        try:
            names = [name for (name,) in lease.cursor.execute(query.sql, query.values).fetchall()]
        except duckdb.IOException as error:
            raise LakeUnreadable from error
    headers["X-Row-Count"] = str(len(names))
    return _json(names, headers)


def answer_platforms(store: Store) -> Response:
    """The platforms that a request can ask for, a JSON array of texts."""
    with store.lease() as lease:
        return _json(list(PLATFORMS), _headers(lease.snapshot, "platforms"))


def answer_status(store: Store) -> Response:
    """What is served, how far it reaches, and what the last runs did."""
    with store.lease() as lease:
        snapshot = lease.snapshot
        headers = {"X-Data-Version": str(snapshot.version), "Cache-Control": "no-cache"}
        _set_watermark(headers, snapshot, PLATFORMS)
    status = {
        "dataVersion": snapshot.version,
        "publishedAt": snapshot.publication.published_at,
        "serviceVersion": VERSION,
        "problem": store.problem,
        "platforms": [_platform(facts) for facts in snapshot.platforms.values()],
        "lastRuns": list(runs(store.history)),
    }
    return _json(status, headers)


def answer_ready(store: Store) -> Response:
    """Whether there is a publication to answer from."""
    with store.lease() as lease:
        return _json({"status": "ready", "dataVersion": lease.snapshot.version}, {"Cache-Control": "no-store"})


def iso(time: datetime) -> str:
    """A time as ISO 8601 in UTC, whole seconds."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _headers(snapshot: Snapshot, request: CtrRequest | ProductsRequest | str) -> dict[str, str]:
    return {
        "ETag": _etag(snapshot, request),
        "X-Data-Version": str(snapshot.version),
        "Cache-Control": "no-cache",
    }


def _set_watermark(headers: dict[str, str], snapshot: Snapshot, platforms: tuple[str, ...]) -> None:
    watermark = snapshot.watermark(platforms)
    if watermark is not None:
        headers["X-Watermark"] = iso(watermark)


def _etag(snapshot: Snapshot, request: CtrRequest | ProductsRequest | str) -> str:
    """Changes with the publication (also in a lake made anew), the request as it was understood, and the service."""
    publication = snapshot.publication
    key = (VERSION, publication.table_id, publication.number, publication.published_at, request)
    return f'"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}"'


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in given or given == ["*"]


def _platform(facts: PlatformFacts) -> dict[str, Any]:
    return {
        "platform": facts.platform,
        "watermarks": {"views": facts.views_watermark, "purchases": facts.purchases_watermark},
        "firstDay": facts.first_day,
        "lastDay": facts.last_day,
        "days": facts.days,
        "missingDays": facts.missing_days,
    }


def _json(content: object, headers: Mapping[str, str]) -> Response:
    text = json.dumps(content, default=_plain, ensure_ascii=False, separators=(",", ":"))
    return Response(text, headers=dict(headers), media_type=JSON)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
