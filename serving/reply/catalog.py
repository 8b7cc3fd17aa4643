"""What there is to ask for and what became of it: products, platforms, changed days, status, readiness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import duckdb
from starlette.responses import Response

from serving import VERSION
from serving.contract import PLATFORMS
from serving.errors import LakeUnreadable
from serving.load.budget import UNLIMITED, Budget
from serving.query.catalog_queries import products
from serving.query.failures import is_out_of_memory, tell
from serving.query.statements import Query
from serving.reply.headers import iso, matches, set_watermark, state_headers
from serving.request.parameters import ProductsRequest
from serving.state.cache import Answer
from serving.state.history import changed
from serving.state.publications import runs
from serving.state.snapshot import PlatformFacts
from serving.state.store import Lease, Store


def answer_changes(store: Store, since: int, platforms: tuple[str, ...], if_none_match: str | None) -> Response:
    """The (date, platform) whose counts changed since a publication, up to the newest.

    Raises:
        PublicationGone: what that publication names has been deleted.
        LakeUnreadable: the lake is out of reach.
    """
    old = store.publication("since", since)
    with store.lease() as lease:
        snapshot = lease.snapshot
    headers = state_headers(snapshot, f"changes since {since} of {platforms}")
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    known = store.cache.get(headers["ETag"])
    if known is not None:
        return Response(known.body, headers=known.headers)
    try:
        found = changed(store.lake, old, snapshot.publication)
    except Exception as error:  # deltalake has no class for "this version is gone"
        raise store.gone("since", since) if store.kept.is_gone(old) else LakeUnreadable() from error
    rows = [{"date": day, "platform": platform} for day, platform in found if platform in platforms]
    headers["X-Row-Count"] = str(len(rows))
    response = _json({"since": since, "dataVersion": snapshot.version, "changed": rows}, headers)
    store.cache.put(headers["ETag"], Answer(bytes(response.body), response.headers))
    return response


def answer_products(
    store: Store, request: ProductsRequest, if_none_match: str | None, budget: Budget = UNLIMITED
) -> Response:
    """Names of products, a JSON array of texts.

    Raises:
        QueryTimeout: the query took longer than the budget.
    """
    with store.lease() as lease:
        headers = state_headers(lease.snapshot, request)
        if matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        try:
            names = _names(store, lease, request, budget)
        except duckdb.Error as error:
            tell(error, store.memory, store.spill)
            raise
    headers["X-Row-Count"] = str(len(names))
    return _json(names, headers)


def _names(store: Store, lease: Lease, request: ProductsRequest, budget: Budget) -> list[str]:
    """The products asked for, from the replica where it can tell them; where it fails, from Delta like the rest."""
    snapshot = lease.snapshot
    if snapshot.knows_products:
        try:
            return _read_names(lease, products(request, snapshot), budget)
        except duckdb.Error as error:
            if is_out_of_memory(error):
                raise
            store.suspect(snapshot.days, error)
    return _read_names(lease, products(request, replace(snapshot, held=frozenset())), budget)


def _read_names(lease: Lease, query: Query, budget: Budget) -> list[str]:
    with budget.reading(lease.cursor):
        return [name for (name,) in lease.cursor.execute(query.sql, query.values).fetchall()]


def answer_platforms(store: Store, platforms: tuple[str, ...], if_none_match: str | None) -> Response:
    """The platforms that a request can ask for, a JSON array of texts."""
    with store.lease() as lease:
        headers = state_headers(lease.snapshot, f"platforms {platforms}")
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return _json(list(platforms), headers)


def answer_status(store: Store, platforms: tuple[str, ...]) -> Response:
    """What is served, how far it reaches, and what the last runs did; the runs only to who may see every platform."""
    with store.lease() as lease:
        snapshot = lease.snapshot
        headers = {"X-Data-Version": str(snapshot.version), "Cache-Control": "no-cache"}
        set_watermark(headers, snapshot, platforms)
    status = {
        "dataVersion": snapshot.version,
        "publishedAt": snapshot.publication.published_at,
        "serviceVersion": VERSION,
        "problem": store.problem,
        "platforms": [_platform(facts) for facts in snapshot.platforms.values() if facts.platform in platforms],
        "lastRuns": list(runs(store.history)) if platforms == PLATFORMS else [],
    }
    return _json(status, headers)


def answer_ready(store: Store) -> Response:
    """Whether there is a publication to answer from, whether it is the newest, and how its replica is. Waits for nothing.

    Raises:
        NotReady: there is none; ``Loading`` and ``Broken`` are kinds of it.
    """
    snapshot, problem = store.snapshot, store.problem or store.replica_problem
    if snapshot is None:
        raise store.unready()
    replica = store.replica_state(snapshot)
    ready = {
        "status": "ready" if problem is None else "degraded",
        "dataVersion": snapshot.version,
        "problem": problem,
        "replica": replica and {"wanted": replica.wanted, "held": replica.held},
    }
    return _json(ready, {"Cache-Control": "no-store"})


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
    return Response(text, headers=dict(headers), media_type="application/json")


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
