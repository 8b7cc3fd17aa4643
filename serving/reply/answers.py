"""The rows of a CTR request: a request and a lease become a response, at once, in one piece or as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from time import perf_counter

import duckdb
import pyarrow as pa
from starlette.responses import Response

from serving.contract import PLATFORMS
from serving.errors import MissingDays
from serving.load.budget import UNLIMITED, Budget
from serving.query import small
from serving.query.columns import column_names
from serving.query.failures import FAILURES, is_out_of_memory, is_unreadable, tell
from serving.query.plan import Plan, make_plan
from serving.query.queries import BEYOND_LIMIT
from serving.reply.encode import Body, CsvEncoder, Encoder, JsonEncoder, NdjsonEncoder, Stream
from serving.reply.headers import iso, matches, set_watermark, state_headers
from serving.reply.parts import Rows, begins_of_parts
from serving.reply.tables import ArrowEncoder, ParquetEncoder
from serving.request.formats import FORMATS, JSON
from serving.request.parameters import CtrRequest
from serving.state.cache import Answer
from serving.state.cost import NO_SIZES, Sizes, cost
from serving.state.snapshot import DAY, Snapshot
from serving.state.store import Lease, Store


def answer_at_once(store: Store, request: CtrRequest, if_none_match: str | None, rows: int) -> Response | None:
    """The answer of at most so many rows where it takes less than handing it to a thread; ``None`` where it does not.

    It does where the client has the answer, where it is kept, or where it is few cells of the replica. To be called by one thread
    alone, that of the event loop.

    Raises:
        MissingDays: the request is strict, and its range touches missing days.
    """
    began = perf_counter()
    lease = store.lease_open(request.as_of)
    if lease is None:
        return None
    with lease:
        headers = _ctr_headers(request, lease.snapshot)
        known = _known(store, headers, if_none_match, began)
        if known is not None:
            return known
        if not request.products or store.quick_cursor is None:
            return None
        plan = make_plan(request, lease.snapshot.segments, lease.snapshot.held)
        if rows < small.MOST_CELLS or not small.at_once(request, plan):
            return None
        try:
            return _few(store, lease.snapshot, request, plan, headers, began, store.quick_cursor)
        except duckdb.Error:  # ``answer_ctr`` meets it again, and tells what it is
            return None


def cost_of(store: Store, request: CtrRequest) -> int:
    """About how many rows a request reads and makes in the publication that answers it; 0 while there is none.

    One that is not open is taken to be as large as the newest, and to have nothing in the replica.
    """
    snapshot = store.lending.snapshot(request.as_of)
    if snapshot is not None:
        return cost(request, make_plan(request, snapshot.segments, snapshot.held), snapshot.sizes)
    newest = store.snapshot
    return cost(request, make_plan(request), newest.sizes) if newest is not None else 0


def known_sizes(store: Store, request: CtrRequest) -> Sizes:
    """The sizes of the publication that a request is about, as far as they are known without opening it."""
    snapshot = store.snapshot
    return snapshot.sizes if snapshot is not None and request.as_of in (None, snapshot.version) else NO_SIZES


def answer_ctr(
    store: Store, request: CtrRequest, if_none_match: str | None, stream_rows: int, budget: Budget = UNLIMITED
) -> Response:
    """The CTR rows of a request: one piece, or a stream where there are more rows than ``stream_rows``.

    Raises:
        InvalidRequest: the answer has more rows than the budget.
        MissingDays: the request is strict, and its range touches missing days.
        QueryTimeout: the query took longer than the budget.
    """
    began = perf_counter()
    lease = store.lease(request.as_of)
    try:
        headers = _ctr_headers(request, lease.snapshot)
        known = _known(store, headers, if_none_match, began)
        if known is not None:
            lease.close()
            return known
        plan = make_plan(request, lease.snapshot.segments, lease.snapshot.held)
        reading = _Reading(store, lease, request, stream_rows, budget, began)
        try:
            return reading.answer(plan, headers)
        except FAILURES as error:
            if is_out_of_memory(error) or not reading.suspect(plan, error):
                raise
        return reading.answer(make_plan(request), headers)
    except BaseException as error:
        lease.close()
        if is_unreadable(error) and request.as_of is not None and store.kept.is_gone(lease.snapshot.publication):
            raise store.gone("asOf", request.as_of) from error
        tell(error, store.memory, store.spill)
        raise


@dataclass(frozen=True)
class _Reading:
    """How the rows of one request are read, from one publication."""

    store: Store
    lease: Lease
    request: CtrRequest
    stream_rows: int
    budget: Budget
    began: float

    def answer(self, plan: Plan, headers: dict[str, str]) -> Response:
        """The answer by a plan. The lease is given back, by a stream at its end."""
        store, lease, request, budget = self.store, self.lease, self.request, self.budget
        if budget.rows >= small.MOST_CELLS and small.fits(request, plan):
            with budget.reading(lease.cursor):
                few = _few(store, lease.snapshot, request, plan, headers, self.began, lease.cursor)
            if few is not None:
                lease.close()
                return few
        with budget.reading(lease.cursor), _refused(lease, request, plan, budget):
            rows = Rows(lease, request, plan, self.stream_rows, budget, self.suspect)
            body = Body(rows, _encoder(request, rows.schema, lease.snapshot), self.stream_rows)
        headers |= _source(request, plan, self.began)
        kind = FORMATS[request.format].content_type
        if request.format != JSON:
            headers["Content-Disposition"] = f'attachment; filename="ctr.{request.format}"'
        if body.rows is None:
            return Stream(self._chunks(plan, body), lease.close, headers, kind)
        headers["X-Row-Count"] = str(body.rows)
        lease.close()
        return _finished(store, body.whole(), headers, kind)

    def _chunks(self, plan: Plan, body: Body) -> Iterator[bytes]:
        """The pieces of a stream.

        Raises:
            ServiceError: what a failure of DuckDB is to a client.
        """
        try:
            yield from self.budget.each(body.chunks(), self.lease.cursor)
        except FAILURES as error:
            self.suspect(plan, error)
            tell(error, self.store.memory, self.store.spill)
            raise

    def suspect(self, plan: Plan, error: BaseException) -> bool:
        """Put the segments of a plan in doubt if the error may be theirs. False: the plan reads none, it must be Delta."""
        names = {piece.segment for piece in plan.pieces if piece.segment is not None}
        snapshot = self.lease.snapshot
        read = [
            one for one in snapshot.held if one.name in names or (names and one in snapshot.days)
        ]  # these have the names
        self.store.suspect(read, error)
        return bool(names)


def _ctr_headers(request: CtrRequest, snapshot: Snapshot) -> dict[str, str]:
    """The headers that do not depend on how the answer is made.

    Raises:
        MissingDays: the request is strict, and its range touches missing days.
    """
    if request.strict:
        _refuse_missing(request, snapshot)
    headers = state_headers(snapshot, request)
    headers["Vary"] = "Accept"
    set_watermark(headers, snapshot, request.platforms or PLATFORMS)
    return headers


def _known(store: Store, headers: dict[str, str], if_none_match: str | None, began: float) -> Response | None:
    """The answer that the client has already, or that is kept; ``None``: neither."""
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    kept = store.cache.get(headers["ETag"])
    return None if kept is None else _again(kept, began)


def _few(
    store: Store,
    snapshot: Snapshot,
    request: CtrRequest,
    plan: Plan,
    headers: dict[str, str],
    began: float,
    cursor: duckdb.DuckDBPyConnection,
) -> Response | None:
    """The answer to a request that ``small`` takes; ``None``: the replica cannot tell its products apart."""
    numbers = store.numbers(snapshot, request.products)
    if numbers is None:
        return None
    texts = small.rows(cursor, request, plan, numbers)
    headers |= {**_source(request, plan, began), "X-Row-Count": str(len(texts))}
    return _finished(store, f"[{','.join(texts)}]".encode(), headers, FORMATS[JSON].content_type)


def _finished(store: Store, body: bytes, headers: dict[str, str], kind: str) -> Response:
    """A whole answer, which is also kept for the next who asks."""
    answer = Answer(body, {**headers, "Content-Type": kind})
    store.cache.put(headers["ETag"], answer)
    return Response(body, headers=answer.headers)


def _source(request: CtrRequest, plan: Plan, began: float) -> dict[str, str]:
    """The headers that tell what answered: with its time in any answer, and beside the counts of a detailed one."""
    spent = (perf_counter() - began) * 1000
    timing = f'plan;desc="{plan.sources}", source;desc="{plan.readers}", query;dur={spent:.1f}'
    detail = {"X-Source": f"{plan.sources} from {plan.readers}"} if request.detail else {}
    return {"Server-Timing": timing, **detail}


def _refuse_missing(request: CtrRequest, snapshot: Snapshot) -> None:
    """Refuse a range that touches missing days of the platforms asked for.

    Raises:
        MissingDays: it does; days after the last are not missing but provisional, as everywhere.
    """
    first, last = (datetime.fromtimestamp(second, timezone.utc) for second in (request.start, request.end - 1))
    missing = {
        platform: facts.missing(first.date(), last.date())
        for platform, facts in snapshot.platforms.items()
        if platform in (request.platforms or PLATFORMS)
    }
    gaps = sorted(
        {datetime(day.year, day.month, day.day, tzinfo=timezone.utc) for days in missing.values() for day in days}
    )
    if not gaps:
        return
    end = datetime.fromtimestamp(request.end, timezone.utc)
    stretches = zip([first, *(gap + DAY for gap in gaps)], [*gaps, end], strict=True)
    begins, ends = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    raise MissingDays(
        {platform: [day.isoformat() for day in days] for platform, days in missing.items() if days},
        (iso(begins), iso(ends)) if begins < ends else None,
        snapshot.version,
    )


def _again(answer: Answer, began: float) -> Response:
    """A finished answer once more; only its timing is new."""
    spent = (perf_counter() - began) * 1000
    timing = answer.headers["Server-Timing"].rpartition("query;")[0] + f"cache;dur={spent:.1f}"
    response = Response(answer.body, headers=answer.headers)
    response.headers["Server-Timing"] = timing
    return response


@contextmanager
def _refused(lease: Lease, request: CtrRequest, plan: Plan, budget: Budget) -> Iterator[None]:
    """When the answer has more rows than the budget, count them, and refuse with what would pass.

    Raises:
        InvalidRequest: that is so.
    """
    try:
        yield
    except (duckdb.InvalidInputException, pa.ArrowException, OSError) as error:
        if BEYOND_LIMIT not in str(error):
            raise
        begins_of_parts(lease, request, plan, budget)
        raise


def _encoder(request: CtrRequest, schema: pa.Schema, snapshot: Snapshot) -> Encoder:
    """The encoder of the request's format."""
    if request.format == "arrow":
        return ArrowEncoder(schema, request.timezone, snapshot.version)
    if request.format == "parquet":
        return ParquetEncoder(schema, request.timezone, snapshot.version)
    if request.format == "csv":
        return CsvEncoder(column_names(request))
    return NdjsonEncoder(snapshot.version) if request.format == "ndjson" else JsonEncoder()
