"""The addresses of the service: parameters, one answer, nothing else."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from serving import answers, documents
from serving.parameters import ctr_from_body, ctr_from_query, nothing_from_query, products_from_query
from serving.problems import read_body
from serving.settings import Settings
from serving.store import Store

router = APIRouter()


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


@router.get("/v1/ctr", **documents.GET_CTR)
def get_ctr(request: Request) -> Response:
    """Clicks become purchases: the share, by bucket, platform and product."""
    wanted = ctr_from_query(request.scope["query_string"])
    tag = request.headers.get("if-none-match")
    return answers.answer_ctr(_store(request), wanted, tag, _settings(request).stream_rows)


@router.post("/v1/ctr", **documents.POST_CTR)
async def post_ctr(request: Request) -> Response:
    """The same as the GET, with the parameters in a JSON object."""
    nothing_from_query(request.scope["query_string"])
    settings = _settings(request)
    wanted = ctr_from_body(await read_body(request, settings.body_bytes))
    return await run_in_threadpool(answers.answer_ctr, _store(request), wanted, None, settings.stream_rows)


@router.get("/v1/products", **documents.PRODUCTS)
def get_products(request: Request) -> Response:
    """Names of products that contain a text."""
    wanted = products_from_query(request.scope["query_string"])
    return answers.answer_products(_store(request), wanted, request.headers.get("if-none-match"))


@router.get("/v1/platforms", **documents.PLATFORMS)
def get_platforms(request: Request) -> Response:
    """The platforms that can be asked for."""
    nothing_from_query(request.scope["query_string"])
    return answers.answer_platforms(_store(request))


@router.get("/v1/status", **documents.STATUS)
def get_status(request: Request) -> Response:
    """What is served, how far it reaches, and what the last runs did."""
    nothing_from_query(request.scope["query_string"])
    return answers.answer_status(_store(request))


@router.get("/health/live", **documents.LIVE)
async def live() -> dict[str, str]:
    """The process runs."""
    return {"status": "live"}


@router.get("/health/ready", **documents.READY)
def ready(request: Request) -> Response:
    """There is a publication to answer from."""
    return answers.answer_ready(_store(request))
