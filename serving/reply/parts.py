"""Reads large answers part by part: some buckets at a time, each part by a statement of its own, in order.

DuckDB sorts in memory and keeps what it sorted until the last row was taken; no pressure of other queries makes it write that to
disk. One slow download would hold the whole answer, a few of them all of ``query_memory``. In parts it holds one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, pairwise

import pyarrow as pa

from serving.contract import GRAINS, PLATFORMS
from serving.load.budget import Budget
from serving.query.failures import FAILURES, is_out_of_memory
from serving.query.plan import Plan, cut, make_plan
from serving.query.queries import ctr, ctr_rows
from serving.replica.segments import day_of
from serving.request.limits import most_rows, too_many_rows
from serving.request.parameters import CtrRequest
from serving.state.cost import Sizes
from serving.state.store import Lease

_DAY = 86_400

PART_ROWS = 250_000
"""About the rows of one part, which takes 64 bytes for each while it waits. In smaller ones the cells are passed over too often."""

Suspect = Callable[[Plan, BaseException], bool]
"""Told of a plan that failed; whether the local copy may be the reason."""


def begins_of_parts(lease: Lease, request: CtrRequest, plan: Plan, budget: Budget) -> list[int]:
    """The first bucket of each part; every row is counted for that.

    Raises:
        InvalidRequest: there are more rows than the budget has; the text says what would pass.
    """
    query = ctr_rows(request, plan, lease.snapshot, budget.rows, PART_ROWS)
    found = lease.cursor.execute(query.sql, query.values).fetchall()
    for _, _, first_beyond in found:
        if first_beyond is not None:
            rows, snapshot = found[-1][1], lease.snapshot
            raise too_many_rows(request, budget.rows, rows, first_beyond, lease.filter_products, snapshot.sizes)
    return [begin for begin, _, _ in found]


def expected_begins(request: CtrRequest, plan: Plan, sizes: Sizes) -> list[int]:
    """The first bucket of each part where each cell is a row, without reading any: those of a day are taken to lie evenly in it."""
    table, step = plan.pieces[0].rollup, plan.buckets.step
    assert table is not None
    assert step is not None
    rows_of_day = cache(lambda day: sizes.rows(table, request.platforms or PLATFORMS, day, day))
    begins, rows = [plan.buckets.start], 0.0
    for begin in range(plan.buckets.start, plan.buckets.end, step):
        more = rows_of_day(day_of(begin)) * step / _DAY
        if rows and rows + more > PART_ROWS:
            begins.append(begin)
            rows = 0.0
        rows += more
    return begins


def _each_cell_is_a_row(request: CtrRequest, plan: Plan) -> bool:
    rollup = plan.pieces[0].rollup
    return not request.products and rollup is not None and plan.buckets.step == GRAINS[rollup]


class Rows:
    """The rows of an answer as batches of Arrow, to be taken once. Statements run on the cursor of the lease, one at a time."""

    def __init__(
        self, lease: Lease, request: CtrRequest, plan: Plan, batch_rows: int, budget: Budget, suspect: Suspect
    ) -> None:
        """Reads the beginning.

        Raises:
            InvalidRequest: there are more rows than the budget has, if that is known by now.
        """
        self._lease = lease
        self._request = request
        self._batch_rows = batch_rows
        self._budget = budget
        self._suspect = suspect
        first, *others = self._parts(plan)
        reader = self._read(first)
        self.schema = reader.schema
        self._batches = chain(reader, chain.from_iterable(map(self._read_later, others)))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def _parts(self, plan: Plan) -> list[Plan]:
        request, sizes = self._request, self._lease.snapshot.sizes
        most = most_rows(request, sizes)
        if most <= PART_ROWS or not _can_be_parted(request, plan):
            return [plan]
        if most <= self._budget.rows and _each_cell_is_a_row(request, plan):
            begins = expected_begins(request, plan, sizes)
        else:
            begins = begins_of_parts(self._lease, request, plan, self._budget) or [plan.buckets.start]
        edges = [plan.buckets.start, *begins[1:], plan.buckets.end]
        # A part in which no segment has data has no piece: its buckets lie after the last day, or in days that are missing.
        return [part for start, end in pairwise(edges) if (part := cut(plan, start, end)).pieces]

    def _read(self, part: Plan) -> pa.RecordBatchReader:
        query = ctr(self._request, part, self._lease.snapshot, self._budget.rows)
        return self._lease.cursor.execute(query.sql, query.values).to_arrow_reader(self._batch_rows)

    def _read_later(self, part: Plan) -> pa.RecordBatchReader:
        """A part of which nothing was sent yet: if the replica has lost a segment since the first, Delta has it."""
        try:
            return self._read(part)
        except FAILURES as error:
            if is_out_of_memory(error) or self._budget.over or not self._suspect(part, error):
                raise
            return self._read(cut(make_plan(self._request), part.buckets.start, part.buckets.end))


def _can_be_parted(request: CtrRequest, plan: Plan) -> bool:
    """Whether parts give the same rows for about the same work.

    To be filled, each bucket needs the products of all others. Delta and the tables of single views are read by whole days, each
    time anew: only the seconds at the end may come from there, which are of the last bucket.
    """
    from_replica = all(piece.segment is not None for piece in plan.pieces if piece.rollup is not None)
    return not request.fill and bool(plan.pieces) and plan.pieces[0].rollup is not None and from_replica
