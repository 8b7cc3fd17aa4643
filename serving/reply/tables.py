"""Encoders of answers with typed columns: an Arrow stream, and Parquet, both written as they are read.

Times are instants in microseconds that carry the zone of the request; CTR is the double nearest to its four digits.
The schema's metadata says ``dataVersion`` in both. The count of rows is known last: Parquet says ``rows`` in the
metadata of its footer, Arrow in those of a last batch, which has no rows.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP = 100_000
"""Rows of one row group of Parquet: what is held in memory before it is written."""


class _Sink:
    """A file that is only written to, and what was written since the last ``take``."""

    closed = False

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._taken = 0

    def write(self, data: bytes) -> int:
        """Keep the data until they are taken."""
        self._bytes += data
        return len(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._taken + len(self._bytes)

    def flush(self) -> None:
        """Nothing: what was written can be taken at once."""

    def close(self) -> None:
        """Nothing: what was written can still be taken."""

    def take(self) -> bytes:
        """What was written since the last call."""
        taken, self._bytes = bytes(self._bytes), bytearray()
        self._taken += len(taken)
        return taken


class _Typed:
    """Gives the columns of DuckDB the zone of the request, and the schema its metadata."""

    def __init__(self, schema: pa.Schema, timezone: str, data_version: int) -> None:
        zoned = pa.timestamp("us", tz=timezone)
        self.schema = pa.schema(
            [pa.field(field.name, zoned if pa.types.is_timestamp(field.type) else field.type) for field in schema],
            {"dataVersion": str(data_version)},
        )
        self.sink = _Sink()

    def zoned(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch in the schema; an instant stays the same in any zone, so only columns with NULL are copied."""
        arrays = [_blanked(column).cast(field.type) for column, field in zip(batch.columns, self.schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _blanked(column: pa.Array) -> pa.Array:
    """The same numbers, with zero under each NULL: DuckDB leaves there what the memory held, of whatever query."""
    if not column.null_count:
        return column
    buffers = [pc.is_valid(column).buffers()[1], column.fill_null(0).buffers()[1]]
    return pa.Array.from_buffers(column.type, len(column), buffers, column.null_count)


class ArrowEncoder(_Typed):
    """An Arrow IPC stream."""

    def begin(self) -> bytes:
        """The schema."""
        self._writer = pa.ipc.new_stream(pa.PythonFile(self.sink, mode="w"), self.schema)
        return self.sink.take()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """The batch."""
        self._writer.write_batch(self.zoned(batch))
        return self.sink.take()

    def end(self, rows: int) -> bytes:
        """A batch without rows, whose metadata count the rows, and the end of the stream."""
        nothing = [pa.array([], field.type) for field in self.schema]
        self._writer.write_batch(pa.RecordBatch.from_arrays(nothing, schema=self.schema), {"rows": str(rows)})
        self._writer.close()
        return self.sink.take()


class ParquetEncoder(_Typed):
    """A Parquet file: row group after row group, then the footer that finds them."""

    def begin(self) -> bytes:
        """The magic bytes."""
        self._writer = pq.ParquetWriter(pa.PythonFile(self.sink, mode="w"), self.schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        return self.sink.take()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        """A row group, as often as one is full."""
        self._waiting.append(self.zoned(batch))
        if sum(waiting.num_rows for waiting in self._waiting) >= ROW_GROUP:
            self._write()
        return self.sink.take()

    def end(self, rows: int) -> bytes:
        """The last row group and the footer, whose metadata count the rows."""
        self._write()
        self._writer.add_key_value_metadata({"rows": str(rows)})
        self._writer.close()
        return self.sink.take()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._writer.write_table(pa.Table.from_batches(waiting), ROW_GROUP * 2)
