"""Rollups: views and purchases of each product by minute, hour and UTC day, recomputed for the partitions that a run touched.

A task takes one (date, platform), counts it (``jobs.counts``) and writes its three files, all outside the JVM: measured, that is
several times as fast as a shuffle of message ids. Only integer counts are kept; a rate is made from their sums by whoever answers a
request (design, section 1: CTR). A task's memory is some 30 bytes a view of its partition (hashes, and copies of them), and bounded
beyond that.
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

from jobs.counts import Counts, Ints, PartitionCounter, Rows, is_among, repeated, view_keys, views_once
from jobs.datafiles import ROW_GROUP, DataFile, DataFileWriter
from jobs.lake import Lake, Partition
from jobs.schemas import CTR_DAY, CTR_HOUR, CTR_MINUTE, PURCHASES, ROLLUPS, VIEWS, Table
from jobs.workers import run_tasks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PASS_ROWS = 1_000_000
"""Views of which a task holds all columns at once, some 150 bytes each; of all others it holds a hash, 8 bytes."""

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
    products = distinct_products([*task.views, *task.purchases])
    counter = count_partition(task, products)
    minutes = counter.minutes()
    files = {table.name: _write(table, minutes, products, task, lake) for table in ROLLUPS}
    return files, _coverage_to_json(task, counter)


def count_partition(task: RollupTask, products: pa.Array) -> PartitionCounter:
    """The counts of a partition. Most views have no copy, which a hash of message id and position shows: they count at once.

    The ids themselves are looked at only for views whose hash comes again, a bounded number at a time.
    """
    counter = PartitionCounter()
    groups = list(_row_groups(task.views))
    keys = [_keys(group) for group in groups]
    again = repeated([key[has_id] for key, has_id in keys])
    suspects = [has_id & is_among(key, again) for key, has_id in keys]
    for group, suspect in zip(groups, suspects, strict=True):
        counter.add_views(_rows(group.read("product", "time"), products).take(~suspect))
    passes = -(-sum(int(suspect.sum()) for suspect in suspects) // PASS_ROWS)
    for part in np.array_split(again, min(passes, len(again))) if passes else []:
        counter.add_views(_once(groups, [has_id & is_among(key, part) for key, has_id in keys], products))
    for group in _row_groups(task.purchases):
        counter.add_purchases(_rows(group.read("product", "time"), products))
    return counter


@dataclass(frozen=True)
class _Group:
    """A row group of a data file."""

    path: str
    number: int

    def read(self, *columns: str) -> pa.Table:
        return pq.ParquetFile(self.path, read_dictionary=["product"]).read_row_group(self.number, columns=list(columns))


def _row_groups(paths: Iterable[str]) -> Iterator[_Group]:
    for path in paths:
        for number in range(pq.read_metadata(path).num_row_groups):
            yield _Group(path, number)


def _keys(group: _Group) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The key of each view of a row group, and which of them have a message id; the others have no meaningful key."""
    rows = group.read("message_id", "position")
    has_id: npt.NDArray[np.bool_] = rows["message_id"].is_valid().to_numpy()
    keys = np.zeros(rows.num_rows, np.int64)
    keys[has_id] = view_keys(_one_chunk(rows["message_id"].drop_null()), rows["position"].to_numpy()[has_id])
    return keys, has_id


def _once(groups: list[_Group], chosen: list[npt.NDArray[np.bool_]], products: pa.Array) -> Rows:
    """The chosen views, which have a message id, each once."""
    parts: list[Rows] = []
    ids: list[pa.Array] = []
    positions: list[Ints] = []
    for group, mask in zip(groups, chosen, strict=True):
        if mask.any():
            rows = group.read("product", "time", "message_id", "position").filter(pa.array(mask))
            parts.append(_rows(rows, products))
            ids += rows["message_id"].chunks
            positions.append(rows["position"].to_numpy().astype(np.int64))
    views = Rows(np.concatenate([part.product for part in parts]), np.concatenate([part.time for part in parts]))
    return views_once(views, pa.chunked_array(ids, pa.string()), np.concatenate(positions))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def distinct_products(paths: list[str]) -> pa.Array:
    """The products of a partition, in the byte order of UTF-8."""
    found = pa.array([], pa.string())
    for group in _row_groups(paths):
        chunks = group.read("product")["product"].chunks
        found = pa.chunked_array([found, *(chunk.dictionary for chunk in chunks)]).unique()
    return found.take(pc.array_sort_indices(found))


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
