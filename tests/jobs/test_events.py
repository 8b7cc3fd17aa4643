"""Reading event files inside a task: rows written, accounts, failures. No Spark: a task is plain Python."""

from __future__ import annotations

import gzip
import io
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import events
from jobs.checksum import LEAF, content_checksum
from jobs.decoding.decode import decode
from jobs.decoding.records import Account
from jobs.discover import EventFile, list_events
from jobs.errors import AccountError
from jobs.events import Reading, gather, read_task, view_rows
from jobs.schemas import QUARANTINE, VIEWS
from jobs.tasks import Piece, make_tasks, size_of_tasks
from tests.rows import NOON, at, event, lines, message

TODAY = date(2016, 2, 3)


class Place:
    """An events folder and a lake folder."""

    def __init__(self, path):
        self.events, self.lake = path / "events", path / "lake"
        self.events.mkdir()

    def put(self, path, content):
        file = self.events / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def reading(self):
        return Reading(str(self.events), str(self.lake), 1 << 20, 7, TODAY)

    def tasks(self, task_bytes=1 << 20):
        return make_tasks(str(self.events), list_events(str(self.events), ()).files, task_bytes)

    def read(self, task_bytes=1 << 20):
        return gather([result for task in self.tasks(task_bytes) for result in read_task(task, self.reading())])

    def rows(self, table, files):
        tables = [pq.read_table(self.lake / table.name / file.path, partitioning=None) for file in files]
        return pa.concat_tables(tables).to_pylist() if tables else []


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_views_of_a_file_become_one_sorted_data_file_a_day(place):
    late = NOON - 86_400_000
    place.put("ios/a.json", lines(message(event("b"), event("a", late), event("a"), message_id="m1")))
    read = place.read()
    assert [(file.date, file.platform, file.rows) for file in read.views] == [
        (date(2016, 1, 31), "iOS", 1),
        (date(2016, 2, 1), "iOS", 2),
    ]
    [[file_id, result]] = read.files.items()
    assert place.rows(VIEWS, read.views[1:]) == [
        {
            "product": product,
            "time": at("2016-02-01 12:00:00"),
            "message_id": "m1",
            "position": position,
            "file_id": file_id,
            "offset": 0,
        }
        for product, position in (("a", 2), ("b", 0))
    ]
    assert (result.account.records, result.account.views, result.failure) == (1, 3, None)


def test_rejects_keep_raw_text_reason_and_place(place):
    place.put("iOS/a.json", lines(message()) + b"{broken\n" + lines(message(event(product=None))))
    read = place.read()
    [result] = read.files.values()
    assert (result.account.quarantined_records, result.account.quarantined_events) == (1, 1)
    first, second = place.rows(QUARANTINE, read.quarantine)
    assert (first["source"], first["raw"], first["raw_bytes"], first["position"], first["batch"]) == (
        "events",
        b"{broken",
        7,
        None,
        7,
    )
    assert first["offset"] == len(lines(message()))
    assert (second["reason"], second["position"]) == ("product_missing", 0)
    assert [(file.date, file.platform) for file in read.quarantine] == [(TODAY, "iOS")]


def test_small_files_share_data_files_and_keep_accounts_and_checksums_of_their_own(place):
    for name in ("a", "b", "c"):
        place.put(f"iOS/{name}", lines(message(message_id=name)))
    read = place.read()
    assert [file.rows for file in read.views] == [3]
    assert {result.account.views for result in read.files.values()} == {1}
    assert len({result.checksum for result in read.files.values()}) == 3


def test_a_file_that_fails_leaves_no_row_and_costs_itself_alone(place):
    packed = gzip.compress(lines(*[message(message_id=str(n)) for n in range(2000)]))
    place.put("iOS/a", lines(message(message_id="good")))
    place.put("iOS/b", packed[: len(packed) // 2])
    read = place.read()
    assert sum(file.rows for file in read.views) == 1
    failures = [result.failure for result in read.files.values() if result.failure]
    assert len(failures) == 1


@pytest.mark.slow
def test_a_failing_file_that_was_written_in_parts_is_left_out_of_the_commit(place, monkeypatch):
    monkeypatch.setattr(events, "FLUSH_ROWS", 100)
    many = lines(*[message(message_id=str(n)) for n in range(400_000)])
    packed = gzip.compress(many, compresslevel=1)
    place.put("iOS/a", packed[: len(packed) * 9 // 10])
    place.put("iOS/b", lines(message(message_id="good")))
    [task] = place.tasks(1 << 30)
    results = list(read_task(task, place.reading()))
    assert sum(kind == "views" for kind, _ in results) > 1
    assert [file.rows for file in gather(results).views] == [1]


def test_rows_are_written_before_the_end_when_their_texts_are_long(place, monkeypatch):
    monkeypatch.setattr(events, "FLUSH_BYTES", 1 << 20)
    place.put("iOS/a", lines(*[message(event("p" * 500), message_id=str(n)) for n in range(50_000)]))
    read = place.read(1 << 30)
    assert len(read.views) == 3  # of one day: after each batch of the decoder, which has 20,000 rows
    assert sum(file.rows for file in read.views) == 50_000


def test_a_long_message_id_does_not_cost_its_length_for_each_event():
    content = io.BytesIO(lines(message(*[event()] * 5_000, message_id="m" * 100_000)))
    file = EventFile("iOS/a", "iOS", 1, 1)
    rows = pa.concat_tables([view_rows(views, file) for views, _ in decode(content, Account(), record_bytes=16 << 20)])
    assert rows.num_rows == 5_000
    assert rows.nbytes < 200 * rows.num_rows
    assert len(rows["message_id"].unique()) == 1


def test_a_large_file_of_lines_is_read_in_pieces_with_the_account_and_checksum_of_the_whole(place):
    content = b"".join(lines(message(message_id=str(n), pad="x" * 1000)) for n in range(30_000))
    place.put("iOS/big", content)
    tasks = place.tasks(LEAF)
    assert len(tasks) == 2
    read = place.read(LEAF)
    [result] = read.files.values()
    assert (result.account.records, result.account.views, result.account.bytes) == (30_000, 30_000, len(content))
    with (place.events / "iOS/big").open("rb") as stream:
        assert result.checksum == content_checksum(stream)
    assert len({row["message_id"] for row in place.rows(VIEWS, read.views)}) == 30_000


def test_a_failing_piece_drops_the_rows_of_all_pieces(place):
    place.put("iOS/big", b"".join(lines(message(message_id=str(n), pad="x" * 1000)) for n in range(30_000)))
    tasks = place.tasks(LEAF)
    results = list(read_task(tasks[0], place.reading()))
    (place.events / "iOS/big").write_bytes(b"shorter")
    results += [result for task in tasks[1:] for result in read_task(task, place.reading())]
    read = gather(results)
    assert read.views == []
    assert [result.failure for result in read.files.values()] == [
        "changed while it was read; the next run reads it again"
    ]


def test_counts_that_do_not_add_up_stop_the_run(place):
    place.put("iOS/a", lines(message()))
    [task] = place.tasks()
    results = list(read_task(task, place.reading()))
    results[0][1]["account"]["views"] += 1
    with pytest.raises(AccountError, match="iOS/a: 1 events read"):
        gather(results)


def test_a_small_load_is_spread_over_the_cores_and_a_large_one_cut_by_the_setting():
    assert size_of_tasks(1 << 20, 2, 128 << 20) == LEAF
    assert size_of_tasks(300 << 20, 2, 128 << 20) == 50 << 20
    assert size_of_tasks(10 << 30, 2, 128 << 20) == 128 << 20


@pytest.mark.parametrize(
    ("leaves", "pieces"), [(1.2, [1.2]), (2.8, [2.8]), (3.2, [2, 1.2]), (10, [2] * 5), (9, [3, 3, 3])]
)
def test_a_file_is_cut_into_pieces_of_about_the_same_size(place, leaves, pieces):
    line = lines(message(pad="x" * 1000))
    place.put("iOS/big", line * (int(leaves * LEAF) // len(line)))
    found = [piece for task in place.tasks(2 * LEAF) for piece in task]
    found.sort(key=lambda piece: piece.start)
    assert [round((piece.end - piece.start) / LEAF, 1) for piece in found] == pieces
    assert [piece.end for piece in found[:-1]] == [piece.start for piece in found[1:]]
    assert all(piece.whole == (len(pieces) == 1) for piece in found)


def test_tasks_hold_about_task_bytes_and_many_small_files(place):
    for number in range(10):
        place.put(f"iOS/{number}", b"x" * 100)
    tasks = place.tasks(task_bytes=350)
    assert sorted(len(task) for task in tasks) == [2, 4, 4]
    assert all(piece == Piece(piece.file, 0, 100, whole=True) for task in tasks for piece in task)
