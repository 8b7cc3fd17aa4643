"""The addresses of the service: parameters, one answer, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from serving.access.access import caller_of, narrow_ctr, narrow_products, platforms_of
from serving.errors import OutOfMemory, QueryTimeout
from serving.load.budget import Budget
from serving.load.heavy import Heavy
from serving.load.workload import Workload
from serving.openapi import documents
from serving.reply import answers, catalog
from serving.reply.problems import read_body
from serving.request.limits import check_size, lighter, most_rows, row_limit
from serving.request.parameters import (
    CtrRequest,
    changes_from_query,
    ctr_from_body,
    ctr_from_query,
    nothing_from_query,
    products_from_query,
)
from serving.settings import Settings
from serving.state.store import Store

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _PlainRoute(APIRoute):
    """A route that hands over the request and gives back the answer: FastAPI has nothing to read from it or to check."""

    def get_route_handler(self) -> Handler:
        endpoint = self.endpoint
        return endpoint if iscoroutinefunction(endpoint) else partial(run_in_threadpool, endpoint)


router = APIRouter(route_class=_PlainRoute)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _accept(request: Request) -> str | None:
    """The header ``Accept``, which may be given in several lines."""
    return ", ".join(request.headers.getlist("accept")) or None


def _tags(request: Request) -> str | None:
    """The header ``If-None-Match``, likewise."""
    return ", ".join(request.headers.getlist("if-none-match")) or None


def _workload(request: Request) -> Workload:
    workload: Workload = request.app.state.workload
    return workload


@router.get("/v1/ctr", **documents.GET_CTR)
async def get_ctr(request: Request) -> Response:
    """Purchases / views: a row for each bucket, platform and product with a view or a purchase in it, in this order.

    A view counts once, however often its message was delivered; a purchase is an item of an order, whatever its quantity.
    CTR is the quotient of the whole counts, rounded half up to four digits: `null` without views, above 1 where more was
    bought than viewed.

    An empty array means that there was neither: a product that nobody knows is no fault. Which rows may still change says
    `detail=true` (`status`), how far the data reach and which days are missing `/v1/status`.
    """
    wanted = ctr_from_query(request.scope["query_string"], _accept(request))
    return await _ctr(request, wanted, _tags(request))


@router.post("/v1/ctr", **documents.POST_CTR)
async def post_ctr(request: Request) -> Response:
    """The same as the GET, with the parameters in a JSON object."""
    nothing_from_query(request.scope["query_string"])
    settings = _settings(request)
    body = await read_body(request, settings.body_bytes, settings.request_seconds)
    return await _ctr(request, ctr_from_body(body, _accept(request), settings.filter_products), None)


async def _ctr(request: Request, wanted: CtrRequest, tag: str | None) -> Response:
    settings = _settings(request)
    wanted = narrow_ctr(wanted, caller_of(request))
    sizes = answers.known_sizes(_store(request), wanted)
    check_size(wanted, settings, sizes)
    rows = row_limit(wanted, settings)
    at_once = answers.answer_at_once(_store(request), wanted, tag, rows)
    if at_once is not None:
        return at_once
    await _open(request, wanted.as_of)
    cost = answers.cost_of(_store(request), wanted)
    heavy = cost > settings.heavy_rows
    what = (_store(request), wanted, tag, settings.stream_rows)
    try:
        return await _workload(request).run(
            request,
            rows,
            partial(answers.answer_ctr, *what),
            heavy=heavy,
            elsewhere=partial(_answer_heavy, request, *what) if heavy else None,
            may_stream=min(cost, most_rows(wanted, sizes)) > settings.stream_rows,
        )
    except (QueryTimeout, OutOfMemory) as error:
        error.add(lighter(wanted))
        raise


async def _open(request: Request, number: int | None) -> None:
    """Have an older publication open before the request is costed and takes the slot of a query."""
    store = _store(request)
    if number is not None and store.lending.snapshot(number) is None:
        await _workload(request).open(request, lambda: store.lease(number).close())


async def _answer_heavy(
    request: Request, store: Store, wanted: CtrRequest, tag: str | None, stream_rows: int, budget: Budget
) -> Response | None:
    """What the heavy process answers; ``None``: there is none, so this one has to."""
    heavy: Heavy = request.app.state.heavy
    response = await heavy.answer_ctr(store, wanted, tag, stream_rows, budget)
    request.app.state.metrics.answered_heavy("worker" if response is None else "process")
    return response


@router.get("/v1/ctr/changes", **documents.CHANGES)
async def get_changes(request: Request) -> Response:
    """The days whose counts changed since a publication."""
    since = changes_from_query(request.scope["query_string"])
    platforms, tag = platforms_of(caller_of(request)), _tags(request)
    return await _workload(request).run(
        request, 0, lambda _: catalog.answer_changes(_store(request), since, platforms, tag)
    )


@router.get("/v1/products", **documents.PRODUCTS)
async def get_products(request: Request) -> Response:
    """Names of products that contain a text."""
    wanted = narrow_products(products_from_query(request.scope["query_string"]), caller_of(request))
    tag = _tags(request)
    return await _workload(request).run(
        request, wanted.limit, lambda budget: catalog.answer_products(_store(request), wanted, tag, budget)
    )


@router.get("/v1/platforms", **documents.PLATFORMS)
async def get_platforms(request: Request) -> Response:
    """The platforms that can be asked for."""
    nothing_from_query(request.scope["query_string"])
    return catalog.answer_platforms(_store(request), platforms_of(caller_of(request)), _tags(request))


@router.get("/v1/status", **documents.STATUS)
async def get_status(request: Request) -> Response:  # of what is in memory: it must answer when all else is busy
    """What is served, how far it reaches, and what the last runs did."""
    nothing_from_query(request.scope["query_string"])
    return catalog.answer_status(_store(request), platforms_of(caller_of(request)))


@router.get("/metrics", **documents.METRICS)
def get_metrics(request: Request) -> Response:
    """Counts and state for Prometheus."""
    text = request.app.state.metrics.text(_store(request), _workload(request), request.app.state.tokens)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/health/live", **documents.LIVE)
async def live(_: Request) -> Response:
    """The process runs."""
    return JSONResponse({"status": "live"})


@router.get("/health/ready", **documents.READY)
async def ready(request: Request) -> Response:  # not in a thread: those may all be taken by queries
    """There is a publication to answer from."""
    return catalog.answer_ready(_store(request))


PATHS = frozenset(route.path for route in router.routes if isinstance(route, APIRoute))
"""The addresses, for metrics and log."""
