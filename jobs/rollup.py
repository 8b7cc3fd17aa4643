"""Rollups: views and purchases of each product by minute, hour and UTC day, recomputed for the partitions that a run touched.

A task takes one (date, platform), counts it (``jobs.counts``) and writes its three files, all outside the JVM: measured, that is
several times as fast as a shuffle of message ids. Only integer counts are kept; a rate is made from their sums by whoever answers a
request (design, section 1: CTR). A task's memory is bounded: a large partition is counted in passes over message ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.counts import Counts, Ints, PartitionCounter, Rows, views_once
from jobs.datafiles import ROW_GROUP, DataFile, DataFileWriter
from jobs.lake import Lake, Partition
from jobs.schemas import CTR_DAY, CTR_HOUR, CTR_MINUTE, PURCHASES, ROLLUPS, VIEWS, Table
from jobs.workers import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PASS_ROWS = 4_000_000
"""Views with message ids that a task holds at once, some 150 bytes each."""

_GRAINS = {CTR_MINUTE: 1, CTR_HOUR: 60, CTR_DAY: 1440}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class RollupTask:
    """One partition to recompute and the paths of its data files."""

    date: date
    platform: str
    views: tuple[str, ...]
    purchases: tuple[str, ...]
    view_rows: int


@dataclass
class Rollups:
    """What the recomputation gave: data files by table name, and a ``coverage`` row for each partition that has counts."""

    files: dict[str, list[DataFile]] = field(default_factory=lambda: {table.name: [] for table in ROLLUPS})
    coverage: dict[Partition, dict[str, Any]] = field(default_factory=dict)


def make_rollup_tasks(lake: Lake, partitions: Iterable[Partition]) -> list[RollupTask]:
    """A task for each partition that has any row in the newest versions of ``views`` and ``purchases``; the largest first."""
    wanted = set(partitions)
    files: dict[Partition, dict[str, list[DataFile]]] = defaultdict(lambda: {VIEWS.name: [], PURCHASES.name: []})
    for table in (VIEWS, PURCHASES):
        for file in lake.files(table, wanted):
            files[file.date, file.platform][table.name].append(file)
    tasks = [
        RollupTask(
            *key,
            tuple(f"{lake.uri(VIEWS)}/{file.path}" for file in found[VIEWS.name]),
            tuple(f"{lake.uri(PURCHASES)}/{file.path}" for file in found[PURCHASES.name]),
            sum(file.rows for file in found[VIEWS.name]),
        )
        for key, found in files.items()
    ]
    return sorted(tasks, key=lambda task: (-task.view_rows, task.date, task.platform))


def write_rollups(spark: SparkSession, tasks: list[RollupTask], lake: str) -> Rollups:
    """Runs the tasks on Spark; nothing is committed."""
    result = Rollups()
    for files, coverage in run_tasks(spark, partial(_results, lake=lake), tasks):
        cover = _coverage_from_json(coverage)
        result.coverage[cover["date"], cover["platform"]] = cover
        for name, written in files.items():
            result.files[name] += written
    return result


def _results(task: RollupTask, lake: str) -> list[tuple[dict[str, list[DataFile]], dict[str, Any]]]:
    return [roll_up(task, lake)]


def roll_up(task: RollupTask, lake: str) -> tuple[dict[str, list[DataFile]], dict[str, Any]]:
    """Counts one partition and writes its files: data files by table name, and its ``coverage`` row as JSON values."""
    products = _distinct_products([*task.views, *task.purchases])
    counter = count_partition(task, products)
    minutes = counter.minutes()
    files = {table.name: _write(table, minutes, products, task, lake) for table in ROLLUPS}
    return files, _coverage_to_json(task, counter)


def count_partition(task: RollupTask, products: pa.Array) -> PartitionCounter:
    """The counts of a partition, in as many passes over its message ids as its size asks for."""
    counter = PartitionCounter()
    passes = max(1, -(-task.view_rows // PASS_ROWS))
    for number in range(passes):
        named = _Named()
        for rows in _row_groups(task.views, ["product", "time", "message_id", "position"]):
            has_id = rows["message_id"].is_valid()
            if number == 0:
                counter.add_views(_rows(rows.filter(pc.invert(has_id)), products))
            named.add(rows.filter(_in_pass(rows["message_id"], number, passes) if passes > 1 else has_id), products)
        counter.add_views(named.once())
    for rows in _row_groups(task.purchases, ["product", "time"]):
        counter.add_purchases(_rows(rows, products))
    return counter


class _Named:
    """Views with message ids of one pass."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self._ids: list[pa.Array] = []
        self._positions: list[Ints] = []

    def add(self, rows: pa.Table, products: pa.Array) -> None:
        self._parts.append(_rows(rows, products))
        self._ids += rows["message_id"].chunks
        self._positions.append(rows["position"].to_numpy().astype(np.int64))

    def once(self) -> Rows:
        if not self._parts:
            return Rows(np.zeros(0, np.int64), np.zeros(0, np.int64))
        views = Rows(
            np.concatenate([part.product for part in self._parts]), np.concatenate([part.time for part in self._parts])
        )
        return views_once(views, pa.chunked_array(self._ids, pa.string()), np.concatenate(self._positions))


def _in_pass(message_id: pa.ChunkedArray, number: int, passes: int) -> pa.Array:
    """Which rows belong to a pass: equal ids always fall into the same one; NULL belongs to none."""
    return pa.array(_pass_of(message_id, passes) == number) if len(message_id) else pa.array([], pa.bool_())


def _pass_of(message_id: pa.ChunkedArray, passes: int) -> npt.NDArray[np.int64]:
    """The pass of each id, from its last bytes, where ids differ most; -1 for NULL."""
    tail = pc.binary_slice(message_id.combine_chunks().cast(pa.binary()), -4, None)
    padded = pc.fill_null(pc.binary_join_element_wise(pa.scalar(b"\0\0\0\0"), tail, b""), b"\0\0\0\0")
    last = pc.binary_slice(padded, -4, None).cast(pa.binary(4))
    sums = np.frombuffer(last.buffers()[1], np.uint32, len(last), last.offset * 4).astype(np.int64)
    valid: npt.NDArray[np.bool_] = message_id.is_valid().to_numpy()
    mixed = (sums * 2_654_435_761) % (1 << 32) >> 7
    return np.where(valid, mixed % passes, -1)


def _distinct_products(paths: list[str]) -> pa.Array:
    """The products of a partition, in the byte order of UTF-8."""
    found = pa.array([], pa.string())
    for rows in _row_groups(paths, ["product"]):
        found = pa.chunked_array([found, *(chunk.dictionary for chunk in rows["product"].chunks)]).unique()
    return found.take(pc.array_sort_indices(found))


def _row_groups(paths: Iterable[str], columns: list[str]) -> Iterator[pa.Table]:
    for path in paths:
        file = pq.ParquetFile(path, read_dictionary=["product"])
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


def _rows(rows: pa.Table, products: pa.Array) -> Rows:
    """The rows with products as their rank in ``products``."""
    ranks = [np.zeros(0, np.int64)]
    for chunk in rows["product"].chunks:
        rank = pc.index_in(chunk.dictionary, value_set=products).to_numpy(zero_copy_only=False).astype(np.int64)
        ranks.append(rank[np.asarray(chunk.indices)])
    return Rows(np.concatenate(ranks), rows["time"].cast(pa.int64()).to_numpy())


def _write(table: Table, minutes: Counts, products: pa.Array, task: RollupTask, lake: str) -> list[DataFile]:
    grain = _GRAINS[table]
    counts = minutes if grain == 1 else minutes.coarser(grain)
    writer = DataFileWriter(lake, table, task.date, task.platform)
    for rows in counts.tables(products, task.date, grain, ROW_GROUP):
        writer.write(rows)
    return writer.close()


_TIMES = ("first_view", "last_view", "first_purchase", "last_purchase")


def _coverage_to_json(task: RollupTask, counter: PartitionCounter) -> dict[str, Any]:
    counts = {name: getattr(counter, name) for name in ("views", "purchases", *_TIMES)}
    return {"date": task.date.isoformat(), "platform": task.platform, **counts}


def _coverage_from_json(body: dict[str, Any]) -> dict[str, Any]:
    times = {name: None if body[name] is None else _EPOCH + timedelta(microseconds=body[name]) for name in _TIMES}
    return {**body, **times, "date": date.fromisoformat(body["date"])}
