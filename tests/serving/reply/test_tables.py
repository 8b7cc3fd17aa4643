from __future__ import annotations

import io
import struct
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.reply.tables import ROW_GROUP, ArrowEncoder, ParquetEncoder
from tests.serving.conftest import patient
from tests.serving.lake import purchase, view
from tests.serving.reply.test_answers import CASE

SCHEMA = pa.schema([("timestamp", pa.timestamp("us", tz="UTC")), ("product", pa.string()), ("CTR", pa.float64())])
ZONE = "America/Sao_Paulo"


def batch(first: int, count: int) -> pa.RecordBatch:
    numbers = range(first, first + count)
    columns = [
        pa.array([number * 10**6 for number in numbers], SCHEMA.field(0).type),
        pa.array([f"p{number}" for number in numbers]),
        pa.array([None if number % 3 else number / 10_000 for number in numbers], pa.float64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def encoded(kind: type[ArrowEncoder] | type[ParquetEncoder], counts: list[int]) -> list[bytes]:
    """The pieces of an answer whose batches have so many rows."""
    encoder = kind(SCHEMA, ZONE, 7)
    pieces, first = [encoder.begin()], 0
    for count in counts:
        pieces.append(encoder.batch(batch(first, count)))
        first += count
    return [*pieces, encoder.end(first)]


counts_of_batches = st.lists(st.integers(0, 50), max_size=5)


def test_under_null_there_is_nothing_that_the_memory_held():
    held = pa.array([0.25, 1.5, 3.0], pa.float64()).buffers()[1]
    column = pa.Array.from_buffers(pa.float64(), 3, [pa.py_buffer(b"\x01"), held])
    times, names = batch(0, 3).columns[:2]
    rows = pa.RecordBatch.from_arrays([times, names, column], schema=SCHEMA)
    encoder = ArrowEncoder(SCHEMA, ZONE, 7)
    stream = b"".join([encoder.begin(), encoder.batch(rows), encoder.end(3)])
    assert rows.column(2).to_pylist() == [0.25, None, None]
    assert pa.ipc.open_stream(stream).read_all()["CTR"].to_pylist() == [0.25, None, None]
    assert struct.pack("<d", 0.25) in stream
    assert struct.pack("<d", 1.5) not in stream
    assert struct.pack("<d", 3.0) not in stream


@patient
@given(counts_of_batches)
def test_an_arrow_stream_holds_the_rows_the_version_and_in_its_last_batch_their_count(counts):
    reader = pa.ipc.open_stream(b"".join(encoded(ArrowEncoder, counts)))
    assert reader.schema.metadata == {b"dataVersion": b"7"}
    assert str(reader.schema.field("timestamp").type) == f"timestamp[us, tz={ZONE}]"
    batches = [reader.read_next_batch_with_custom_metadata() for _ in range(len(counts) + 1)]
    with pytest.raises(StopIteration):
        reader.read_next_batch()
    assert batches[-1].batch.num_rows == 0
    assert dict(batches[-1].custom_metadata) == {b"rows": str(sum(counts)).encode()}
    table = pa.Table.from_batches([found.batch for found in batches])
    assert table.cast(SCHEMA).to_pylist() == batch(0, sum(counts)).to_pylist()


@patient
@given(counts_of_batches)
def test_a_parquet_file_holds_the_rows_and_in_its_metadata_the_version_and_their_count(counts):
    file = pq.ParquetFile(io.BytesIO(b"".join(encoded(ParquetEncoder, counts))))
    assert file.metadata.metadata[b"dataVersion"] == b"7"
    assert file.metadata.metadata[b"rows"] == str(sum(counts)).encode()
    assert str(file.schema_arrow.field("timestamp").type) == f"timestamp[us, tz={ZONE}]"
    assert file.read().cast(SCHEMA).to_pylist() == batch(0, sum(counts)).to_pylist()


def test_parquet_is_written_row_group_by_row_group_while_it_is_read():
    pieces = encoded(ParquetEncoder, [ROW_GROUP // 2] * 5)
    assert [bool(piece) for piece in pieces] == [True, False, True, False, True, False, True]
    file = pq.ParquetFile(io.BytesIO(b"".join(pieces)))
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert groups == [ROW_GROUP, ROW_GROUP, ROW_GROUP // 2]


@pytest.mark.parametrize("stream_rows", [1, 100])
@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_an_answer_has_typed_columns(lake, serve, format, stream_rows):
    lake.publish([view("2016-01-03 17:00:00", name) for name in "aab"], [purchase("2016-01-03 17:00:00", "a")] * 3)
    client = serve(lake, stream_rows=stream_rows)
    response = client.get("/v1/ctr", params={**CASE, "timezone": ZONE, "detail": "true", "format": format})
    table = (
        pa.ipc.open_stream(response.content).read_all()
        if format == "arrow"
        else pq.read_table(io.BytesIO(response.content))
    )
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("timestamp", f"timestamp[us, tz={ZONE}]"),
        ("platform", "string"),
        ("product", "string"),
        ("CTR", "double"),
        ("views", "int64"),
        ("purchases", "int64"),
        ("bucketEnd", f"timestamp[us, tz={ZONE}]"),
        ("status", "string"),
    ]
    assert table.schema.metadata[b"dataVersion"] == b"1"
    assert response.headers.get("x-row-count") == ("2" if stream_rows == 100 else None)
    rows = table.to_pylist()
    assert [(row["product"], row["CTR"], row["views"], row["purchases"]) for row in rows] == [
        ("a", 1.5, 2, 3),
        ("b", 0.0, 1, 0),
    ]


@patient
@given(st.integers(0, 10**12))
def test_the_double_of_a_ctr_has_its_four_digits(shares):
    assert f"{shares / 10_000:.4f}" == str(Decimal(shares).scaleb(-4).quantize(Decimal("0.0001")))


def test_a_time_is_the_instant_whose_local_time_json_writes(lake, serve):
    lake.publish([view("2016-10-16 02:59:59"), view("2016-10-16 03:00:00")])
    client = serve(lake)
    wanted = {"startTimestamp": "2016-10-15 23:00:00", "endTimestamp": "2016-10-16 02:00:00", "aggregation": "60"}
    params = {**wanted, "timezone": ZONE}
    text = [row["timestamp"] for row in client.get("/v1/ctr", params=params).json()]
    content = client.get("/v1/ctr", params={**params, "format": "arrow"}).content
    times = pa.ipc.open_stream(content).read_all().column("timestamp").to_pylist()
    assert text == ["2016-10-15 23:00:00", "2016-10-16 01:00:00"]
    assert times == [datetime.fromisoformat(time).replace(tzinfo=ZoneInfo(ZONE)) for time in text]
