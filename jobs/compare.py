"""Order items against what the lake holds, one (date, platform) after another: what runs inside a Spark task.

A worker imports this before its first task, while the run waits: it needs little.

A task gets its items sorted by partition, so that it holds one partition at a time. A partition whose rows are those of the lake is
left alone; another is written anew. Items that are no purchase are counted, and those that cannot be used become rejects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.datafiles import DataFile, file_schema, partition_runs, sort_rows, write_partitions
from jobs.schemas import PURCHASES, QUARANTINE

if TYPE_CHECKING:
    from jobs.lake import Partition

ITEM = (*PURCHASES.columns, "kind", "raw", "detail")
"""The columns of an item. ``date`` is NULL but for purchases that are compared; ``raw`` and ``detail`` are those of a reject."""

PURCHASE = "purchase"
OTHER_DEVICE = "other_device"
ORDER_MISSING = "order_missing"

NO_PLATFORM = "none"
"""``platform`` of a reject whose order would have said it."""

_SCHEMA = file_schema(PURCHASES)

_FLUSH_BYTES = 64 << 20


@dataclass(frozen=True)
class Held:
    """The lake's root and its data files of ``purchases`` by partition; number and UTC day of the run."""

    lake: str
    files: dict[Partition, list[DataFile]]
    batch: int
    today: date


@dataclass
class Compared:
    """What came of the items of some tasks."""

    kinds: Counter[str] = field(default_factory=Counter)
    """Items by kind."""
    devices: Counter[str] = field(default_factory=Counter)
    """Items of no platform by device."""
    same: set[Partition] = field(default_factory=set)
    changed: set[Partition] = field(default_factory=set)
    """Partitions that the items have and that the lake does not hold as they are."""
    added: Counter[Partition] = field(default_factory=Counter)
    """Of changed partitions, the items that the lake does not hold there."""
    removed: Counter[Partition] = field(default_factory=Counter)
    """Of changed partitions, the items that the lake holds there and that are there no more."""
    adds: list[DataFile] = field(default_factory=list)
    """Data files of ``purchases`` for the changed partitions."""
    rejects: list[DataFile] = field(default_factory=list)
    """Data files of ``quarantine`` with every reject, known or not."""

    def add(self, other: dict[str, Any]) -> None:
        """Adds what another task gave, as ``to_json`` made it."""
        self.kinds.update(other["kinds"])
        self.devices.update(other["devices"])
        for mine, theirs in ((self.same, other["same"]), (self.changed, other["changed"])):
            mine.update((date.fromisoformat(day), platform) for day, platform in theirs)
        for mine_of, theirs_of in ((self.added, other["added"]), (self.removed, other["removed"])):
            mine_of.update({(date.fromisoformat(day), platform): count for day, platform, count in theirs_of})
        self.adds += map(DataFile.from_json, other["adds"])
        self.rejects += map(DataFile.from_json, other["rejects"])

    def to_json(self) -> dict[str, Any]:
        """JSON values, for the way from a worker to the driver."""
        return {
            "kinds": self.kinds,
            "devices": self.devices,
            "same": [(day.isoformat(), platform) for day, platform in self.same],
            "changed": [(day.isoformat(), platform) for day, platform in self.changed],
            "added": [(day.isoformat(), platform, count) for (day, platform), count in self.added.items()],
            "removed": [(day.isoformat(), platform, count) for (day, platform), count in self.removed.items()],
            "adds": [file.to_json() for file in self.adds],
            "rejects": [file.to_json() for file in self.rejects],
        }


def compare_in_arrow(batches: Iterator[pa.RecordBatch], held: Held) -> Iterator[pa.RecordBatch]:
    """``compare`` as Spark's ``mapInArrow`` wants it: one row with a column ``body``, the JSON text of what came of it."""
    yield pa.RecordBatch.from_pydict({"body": [json.dumps(compare(batches, held).to_json())]})


def compare(batches: Iterable[pa.RecordBatch], held: Held) -> Compared:
    """Compares items, which have the columns of ``ITEM`` and are sorted by date and platform."""
    compared = Compared()
    rejects = _Rejects(held)
    for (day, platform), rows in _partitions(_counted(batches, compared, rejects)):
        files = held.files.get((day, platform), [])
        if _holds(held.lake, files, rows):
            compared.same.add((day, platform))
        else:
            compared.changed.add((day, platform))
            ours, theirs = rows["item_id"], _held(held.lake, files, ["item_id"])["item_id"]
            compared.added[day, platform] = _without(ours, theirs)
            compared.removed[day, platform] = _without(theirs, ours)
            compared.adds += write_partitions(held.lake, PURCHASES, rows, ["product", "time"])
    compared.rejects = rejects.close()
    return compared


def _counted(batches: Iterable[pa.RecordBatch], compared: Compared, rejects: _Rejects) -> Iterator[pa.Table]:
    """The purchases of each batch; what else is in it is counted."""
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        compared.kinds.update(_counts(rows["kind"]))
        others = rows.filter(pc.equal(rows["kind"], OTHER_DEVICE))
        compared.devices.update(_counts(pc.fill_null(others["device"], "(none)")))
        rejects.add(rows.filter(rows["raw"].is_valid()))
        yield rows.filter(rows["date"].is_valid()).select(PURCHASES.columns).cast(PURCHASES.schema)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {str(entry["values"]): entry["counts"] for entry in pc.value_counts(column).to_pylist()}


def _partitions(tables: Iterable[pa.Table]) -> Iterator[tuple[Partition, pa.Table]]:
    """The rows of each partition from sorted tables, in which a partition may be cut."""
    key: Partition | None = None
    parts: list[pa.Table] = []
    for table in tables:
        for day, platform, rows in partition_runs(table):
            if key is not None and key != (day, platform):
                yield key, pa.concat_tables(parts)
                parts = []
            key = day, platform
            parts.append(rows)
    if key is not None:
        yield key, pa.concat_tables(parts)


def _holds(lake: str, files: list[DataFile], rows: pa.Table) -> bool:
    """Whether the data files of a partition hold exactly these rows."""
    if sum(file.rows for file in files) != rows.num_rows:
        return False
    names = _SCHEMA.names
    held = _held(lake, files, names)
    ours = rows.select(names)
    places = pc.index_in(held["item_id"], value_set=ours["item_id"].combine_chunks())
    if places.null_count:
        return False
    if pc.count_distinct(places).as_py() == ours.num_rows:  # no id is there twice
        return bool(ours.take(places).equals(held))
    return bool(sort_rows(ours, names).equals(sort_rows(held, names)))


def _held(lake: str, files: list[DataFile], names: list[str]) -> pa.Table:
    """Columns of the data files of a partition."""
    schema = pa.schema([_SCHEMA.field(name) for name in names])
    paths = [f"{lake}/{PURCHASES.name}/{file.path}" for file in files]
    # There are many files and little in each: handing their columns to threads takes longer than reading them.
    held = [pq.ParquetFile(path).read(names, use_threads=False).cast(schema) for path in paths]
    return pa.concat_tables([schema.empty_table(), *held])


def read_items(lake: str, files: list[DataFile]) -> pa.Array:
    """The ids of the items in data files of ``purchases``."""
    return _held(lake, files, ["item_id"])["item_id"].drop_null().combine_chunks()


def _without(some: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    """How many of some are not among the others."""
    return len(some) - int(pc.sum(pc.is_in(some, value_set=others.combine_chunks())).as_py() or 0)


class _Rejects:
    """Rejects on their way to data files of the quarantine."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._parts: list[pa.Table] = []
        self._bytes = 0
        self._files: list[DataFile] = []

    def add(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._parts.append(self._of(rows))
            self._bytes += self._parts[-1].nbytes
            if self._bytes >= _FLUSH_BYTES:
                self._write()

    def close(self) -> list[DataFile]:
        self._write()
        return self._files

    def _of(self, rows: pa.Table) -> pa.Table:
        columns = {
            "date": pa.repeat(pa.scalar(self._held.today, pa.date32()), rows.num_rows),
            "platform": pc.fill_null(rows["platform"], NO_PLATFORM),
            "source": pa.repeat(PURCHASES.name, rows.num_rows),
            "reason": rows["kind"],
            "detail": rows["detail"],
            "raw": rows["raw"],
            "raw_bytes": pc.binary_length(rows["raw"]).cast(pa.int64()),
            "batch": pa.repeat(pa.scalar(self._held.batch, pa.int64()), rows.num_rows),
        }
        given = [columns.get(name, pa.nulls(rows.num_rows)) for name in QUARANTINE.columns]
        return pa.table(dict(zip(QUARANTINE.columns, given, strict=True))).cast(QUARANTINE.schema)

    def _write(self) -> None:
        if self._parts:
            self._files += write_partitions(self._held.lake, QUARANTINE, pa.concat_tables(self._parts), ["reason"])
        self._parts, self._bytes = [], 0
