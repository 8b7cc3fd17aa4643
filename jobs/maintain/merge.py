"""Merging data files of one partition into one: streamed in the order of the table, so memory does not grow with their size.

Rows cross as they are, and none is lost or doubled: that is checked at the end of every merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.datafiles import ROW_GROUP, DataFile, DataFileWriter, file_schema
from jobs.errors import AccountError
from jobs.schemas import QUARANTINE, Table

HELD_BYTES = 256 << 20
"""About what one merge holds at once; ``held_bytes`` says what a file adds to it."""

_BATCH = 16 * 1024
_ROW_BYTES = 200
_GROUP_BYTES = 64 << 20
_TOGETHER = 256 * 1024
_SORT = ("product", "time")

Key = tuple[str, int]


def held_bytes(file: DataFile) -> int:
    """About what a merge holds of this file at once: a part of its rows, and the row group that they come from."""
    return min(file.rows, _BATCH) * _ROW_BYTES + min(file.size, file.size * ROW_GROUP // max(file.rows, 1))


def merge(root: str, table: Table, day: date, platform: str, paths: Sequence[str]) -> list[DataFile]:
    """Writes the rows of these files of one partition as one file, sorted by product and time; nothing is committed.

    Rows of ``quarantine`` are not sorted: they follow one another file by file.

    Raises:
        AccountError: not as many rows were written as there are in the files.
    """
    columns = file_schema(table).names
    output = _Output(DataFileWriter(root, table, day, platform))
    for rows in _stream(paths, columns) if table is QUARANTINE else _merged(paths, columns):
        output.add(rows)
    files = output.close()
    wanted, written = sum(pq.read_metadata(path).num_rows for path in paths), sum(file.rows for file in files)
    if wanted != written:
        raise AccountError(
            f"merging {len(paths)} files of {table.name} {day} {platform} wrote {written:,} of {wanted:,} rows; "
            "nothing was changed"
        )
    return files


class _Output:
    """Hands rows on to the file in full row groups."""

    def __init__(self, writer: DataFileWriter) -> None:
        self._writer = writer
        self._held: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, rows: pa.Table) -> None:
        self._held.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        if self._rows >= ROW_GROUP or self._bytes >= _GROUP_BYTES:
            held = pa.concat_tables(self._held)
            full = held.num_rows - held.num_rows % ROW_GROUP if self._bytes < _GROUP_BYTES else held.num_rows
            self._writer.write(held.slice(0, full))
            rest = held.slice(full)
            self._held, self._rows, self._bytes = [rest], rest.num_rows, rest.nbytes

    def close(self) -> list[DataFile]:
        if self._held:
            self._writer.write(pa.concat_tables(self._held))
        return self._writer.close()


def _stream(paths: Iterable[str], columns: list[str]) -> Iterator[pa.Table]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=columns):
                yield pa.Table.from_batches([batch])


def _merged(paths: Sequence[str], columns: list[str]) -> Iterator[pa.Table]:
    """Rows of all files in order. A file whose rows are not in order costs order, never rows."""
    sources = [source for source in _sources(paths, columns) if source.advance()]
    while sources:
        slowest = min(sources, key=lambda source: source.last)
        until = slowest.last
        parts = [source.take_all() if source is slowest else source.take(until) for source in sources]
        parts = [part for part in parts if part.num_rows]
        rows = pa.Table.from_batches(parts)
        yield rows if len(parts) == 1 else _sorted(rows)
        sources = [source for source in sources if not source.empty or source.advance()]


def _sources(paths: Sequence[str], columns: list[str]) -> Iterator[_Source]:
    """One source for each large file; small ones are read whole and sorted together, or thousands would be open at once."""
    held: list[pa.Table] = []
    for path in paths:
        if pq.read_metadata(path).num_rows > _BATCH:
            yield _Source(table.to_batches()[0] for table in _stream([path], columns))
            continue
        held.append(pq.read_table(path, columns=columns, partitioning=None))
        if sum(table.num_rows for table in held) >= _TOGETHER:
            yield _Source(iter(_sorted(pa.concat_tables(held)).to_batches(_BATCH)))
            held = []
    if held:
        yield _Source(iter(_sorted(pa.concat_tables(held)).to_batches(_BATCH)))


def _sorted(rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in _SORT]).combine_chunks()


class _Source:
    """Rows in order, one batch of them at hand."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rows: pa.RecordBatch | None = None
        self.last: Key = ("", 0)

    @property
    def empty(self) -> bool:
        """Whether the batch at hand is used up."""
        return self._rows is None or self._rows.num_rows == 0

    def advance(self) -> bool:
        """Takes the next batch to hand; whether there was one."""
        for batch in self._batches:
            if batch.num_rows:
                self._rows = batch
                self.last = self._key(batch.num_rows - 1)
                return True
        return False

    def take_all(self) -> pa.RecordBatch:
        """What is at hand."""
        return self._cut(self._batch.num_rows)

    def take(self, until: Key) -> pa.RecordBatch:
        """The rows at hand up to a key, those with the key among them."""
        low, high = 0, self._batch.num_rows
        while low < high:
            middle = (low + high) // 2
            if self._key(middle) <= until:
                low = middle + 1
            else:
                high = middle
        return self._cut(low)

    def _cut(self, count: int) -> pa.RecordBatch:
        taken = self._batch.slice(0, count)
        self._rows = self._batch.slice(count)
        return taken

    @property
    def _batch(self) -> pa.RecordBatch:
        assert self._rows is not None  # only sources that have advanced are asked for rows
        return self._rows

    def _key(self, row: int) -> Key:
        product, time = (self._batch.column(name)[row] for name in _SORT)
        return product.as_py(), time.value
