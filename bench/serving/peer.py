"""Peers of the service over HTTP: ``python -m bench.serving.peer PORT WORKERS``. What, ``BENCH_PEER`` says.

``postgresql://...`` answers from there by the service's own routes, with all that is around them; ``bare-postgresql://...`` by a
route that does nothing else; ``static`` gives every request the same body, from memory: the limit of the framework. That route is
``async``, as the service's own is for what its cache holds; those over PostgreSQL wait for it, each in a thread of FastAPI's pool.
"""

from __future__ import annotations

import os
import sys
import threading

import psycopg
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from bench.serving import postgres
from serving.__main__ import serve
from serving.load.budget import UNLIMITED, Budget
from serving.main import create_app
from serving.reply import answers
from serving.request.parameters import CtrRequest, ctr_from_query
from serving.settings import load_settings
from serving.state.store import Store

_source = os.environ.get("BENCH_PEER", "static")
_local = threading.local()
_ROW = '{"timestamp":"2016-02-03 %02d:00:00","platform":"iOS","product":"20004987_495","CTR":0.5000}'
_BODY = ("[" + ",".join(_ROW % hour for hour in range(24)) + "]").encode()


def _answer(wanted: CtrRequest) -> bytes:
    if not hasattr(_local, "connection"):
        _local.connection = psycopg.connect(_source.removeprefix("bare-"), autocommit=True, prepare_threshold=1)
    return postgres.answer(_local.connection, wanted)


def _answer_ctr(
    store: Store, request: CtrRequest, if_none_match: str | None, stream_rows: int, budget: Budget = UNLIMITED
) -> Response:
    """The service's ``answer_ctr``, from PostgreSQL."""
    with store.lease() as lease:
        headers = answers._ctr_headers(request, lease.snapshot)
    return Response(_answer(request), headers=headers, media_type="application/json")


async def _from_memory(request: Request) -> Response:
    return Response(_BODY, media_type="application/json")


def _from_postgres(request: Request) -> Response:
    return Response(_answer(ctr_from_query(request.scope["query_string"])), media_type="application/json")


def _bare() -> FastAPI:
    app = FastAPI()
    app.get("/v1/ctr")(_from_memory if _source == "static" else _from_postgres)

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def _own_routes() -> FastAPI:
    answers.answer_at_once = lambda *_: None
    answers.answer_ctr = _answer_ctr
    return create_app(load_settings())


app = _own_routes() if _source.startswith("postgresql:") else _bare()


def main(port: int, workers: int) -> None:
    """Serves until it is ended, as the service does: the same parser, the same socket."""
    name = "bench.serving.peer:app"
    serve(uvicorn.Config(name, port=port, workers=workers, http="h11", log_level="warning", access_log=False))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
