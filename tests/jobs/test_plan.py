"""What a run reads: known files passed over, copies set aside, archives opened, batches cut."""

from __future__ import annotations

import os
import random
import zipfile
from dataclasses import replace
from datetime import date, datetime, timezone

import pytest

from jobs.checksum import content_checksum
from jobs.contents import Displaced, displace
from jobs.decoding.records import Account
from jobs.discover import list_events
from jobs.events import FileResult, Read
from jobs.ledger import DUPLICATE, FAILED, LOADED, PLANNED, UNKNOWN_PLATFORM, Ledger, Statement
from jobs.plan import Selection, plan_listing
from tests.jobs.test_discover import closed

NOW = datetime(2016, 2, 1, tzinfo=timezone.utc)


class Folder:
    """An events folder and its ledger."""

    def __init__(self, root):
        self.root = root
        self.ledger = Ledger()

    def put(self, path, content=b"{}", changed=1_454_284_800):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (changed, changed))

    def know(self, path, state=LOADED, duplicate_of=None, *, read=True):
        [file] = [file for file in list_events(str(self.root), ()).files if file.path == path]
        checksum = None
        if read:
            with (self.root / path).open("rb") as stream:
                checksum = content_checksum(stream)
        self.ledger.statements[file.file_id] = Statement(
            file.file_id, path, file.platform, file.size, state, checksum, duplicate_of, None, None, NOW
        )
        return file.file_id

    def plan(self, batch_bytes=1 << 30, **selection):
        listing = list_events(str(self.root), ())
        return plan_listing(str(self.root), listing, self.ledger, Selection(**selection), batch_bytes, {})

    def batches(self, *args, **selection):
        return self.plan(*args, **selection).batches

    def batch(self, **selection):
        [batch] = self.batches(**selection)
        return batch


def paths(files):
    return [file.path for file in files]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_known_files_are_passed_over_and_open_ones_planned_again(folder):
    for index, state in enumerate([LOADED, PLANNED, FAILED, UNKNOWN_PLATFORM]):
        folder.put(f"iOS/{state}", b"x" * index)
        folder.know(f"iOS/{state}", state)
    assert paths(folder.batch().files) == ["iOS/failed", "iOS/planned"]


def test_nothing_new_is_no_batch(folder):
    folder.put("iOS/a")
    folder.know("iOS/a")
    assert folder.batches() == []


def test_of_new_files_with_one_content_the_first_by_path_is_read(folder):
    folder.put("iOS/a (1).json", b"same")
    folder.put("iOS/a.json", b"same")
    folder.put("Android/a.json", b"same")
    folder.put("iOS/b.json", b"diff")
    batch = folder.batch()
    assert sorted(paths(batch.files)) == ["Android/a.json", "iOS/a (1).json", "iOS/b.json"]
    assert [(copy.path, original) for copy, original in batch.duplicates] == [
        ("iOS/a.json", next(file.file_id for file in batch.files if file.path == "iOS/a (1).json"))
    ]


def test_a_copy_of_a_loaded_file_adds_nothing(folder):
    folder.put("iOS/a")
    original = folder.know("iOS/a")
    folder.put("iOS/b")
    batch = folder.batch()
    assert batch.files == []
    assert [(copy.path, of) for copy, of in batch.duplicates] == [("iOS/b", original)]


def test_a_copy_is_looked_at_again_when_its_original_is_not_loaded_any_more(folder):
    folder.put("iOS/a")
    folder.put("iOS/b")
    original = folder.know("iOS/a", state="replaced")
    (folder.root / "iOS/a").unlink()
    folder.know("iOS/b", state=DUPLICATE, duplicate_of=original)
    assert paths(folder.batch().files) == ["iOS/b"]


def displaced(folder, batch, **checksums):
    """What becomes of loaded contents when a batch is recorded of which every file was read."""
    results = {file.file_id: FileResult(Account(), checksums.get(file.path[-1], "another")) for file in batch.files}
    return displace(batch.files, batch.duplicates, folder.ledger, Read(files=results))


def test_a_known_copy_of_a_changed_file_keeps_its_rows_without_being_read(folder):
    folder.put("iOS/a", b"old")
    original = folder.know("iOS/a")
    for name in ("iOS/c", "iOS/b"):
        folder.put(name, b"old")
        folder.know(name, DUPLICATE, original)
    folder.put("iOS/a", b"new!")
    for batch in (folder.batch(), folder.batch(path="*/a")):
        assert (paths(batch.files), batch.duplicates) == (["iOS/a"], [])
        found = displaced(folder, batch)
        assert found.gone == []
        [(known, heir)] = found.handed.values()
        assert (known.file_id, heir.path) == (original, "iOS/b")


def test_a_changed_file_replaces_the_one_loaded_under_its_path(folder):
    folder.put("iOS/a", b"old")
    old = folder.know("iOS/a")
    folder.put("iOS/a", b"new!")
    batch = folder.batch()
    assert paths(batch.files) == ["iOS/a"]
    assert [known.file_id for known in displaced(folder, batch).gone] == [old]


def test_a_changed_file_that_cannot_be_read_replaces_nothing(folder):
    folder.put("iOS/a", b"old")
    folder.know("iOS/a")
    folder.put("iOS/a", b"new!")
    batch = folder.batch()
    failed = {file.file_id: FileResult(Account(), failure="cut") for file in batch.files}
    assert displace(batch.files, batch.duplicates, folder.ledger, Read(files=failed)) == Displaced()


def test_the_same_content_delivered_again_under_its_path_is_read_and_replaces_itself(folder):
    folder.put("iOS/a", b"same")
    old = folder.know("iOS/a")
    folder.put("iOS/b", b"same")
    copy = folder.know("iOS/b", DUPLICATE, old)
    folder.put("iOS/a", b"same", changed=1_454_299_999)
    batch = folder.batch()
    [file] = batch.files
    assert (file.path, batch.duplicates) == ("iOS/a", [])
    found = displaced(folder, batch, a=folder.ledger.statements[old].checksum)
    assert [known.file_id for known in found.gone] == [old]
    assert [(known.file_id, content) for known, content in found.copies] == [(copy, file.file_id)]


def test_what_is_put_back_with_its_old_time_is_known_without_being_read(folder):
    folder.put("iOS/a", b"old")
    old = folder.know("iOS/a")
    folder.put("iOS/a", b"new!", changed=1_454_299_999)
    new = folder.know("iOS/a")
    copy = replace(folder.ledger.statements.pop(old), path="iOS/b")  # its rows passed to a copy
    folder.ledger.statements[old] = copy
    folder.put("iOS/a", b"old")
    batch = folder.batch()
    assert (batch.files, [(file.path, content) for file, content in batch.duplicates]) == ([], [("iOS/a", old)])
    found = displaced(folder, batch)
    assert [known.file_id for known in found.gone] == [new]
    assert found.handed[old][1].path == "iOS/a"


def test_batches_are_cut_by_bytes_newest_day_first(folder):
    for day in (1, 2, 3):
        folder.put(f"iOS/2016-02-0{day}/a", b"x" * (10 + day))
    folder.put("iOS/2016-02-04/large", b"x" * 100)
    batches = folder.batches(batch_bytes=25)
    assert [paths(batch.files) for batch in batches] == [
        ["iOS/2016-02-04/large"],
        ["iOS/2016-02-03/a", "iOS/2016-02-02/a"],
        ["iOS/2016-02-01/a"],
    ]


def test_a_selection_takes_days_and_paths(folder):
    for day in (1, 2, 3):
        folder.put(f"iOS/2016-02-0{day}/a", b"x" * day)
        folder.put(f"Android/2016-02-0{day}/a", b"x" * day)
    taken = folder.batch(first=date(2016, 2, 2), last=date(2016, 2, 2))
    assert paths(taken.files) == ["Android/2016-02-02/a", "iOS/2016-02-02/a"]
    assert paths(folder.batch(path="iOS/*03/*").files) == ["iOS/2016-02-03/a"]


def test_files_of_no_platform_are_recorded_and_not_read(folder):
    folder.put("windows/a")
    batch = folder.batch()
    assert (batch.files, paths(batch.unknown)) == ([], ["windows/a"])


def zipped(folder, path, **members):
    (folder.root / path).parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder.root / path, "w") as content:
        for name, data in members.items():
            content.writestr(f"iOS/{name}", data)


def test_an_archive_counts_as_seen_with_the_batch_that_reads_its_last_member(folder):
    zipped(folder, "all.zip", a=b"1" * 20, b=b"2" * 30)
    batches = folder.batches(batch_bytes=40)
    assert [paths(batch.files) for batch in batches] == [["all.zip!iOS/a"], ["all.zip!iOS/b"]]
    assert [paths(batch.archives) for batch in batches] == [[], ["all.zip"]]


@pytest.mark.parametrize(
    ("selection", "members", "whole"),
    [
        ({"first": date(2016, 2, 2), "last": date(2016, 2, 2)}, ["2016-02-02/b"], False),
        ({"first": date(2016, 2, 3)}, ["c"], False),
        ({"first": date(2016, 2, 1), "last": date(2016, 2, 3)}, ["2016-02-01/a", "2016-02-02/b", "c"], True),
        ({"path": "all 2016-02-03.zip!iOS/2016-02-01/*"}, ["2016-02-01/a"], False),
        ({"path": "*/2016-02-0[12]/*"}, ["2016-02-01/a", "2016-02-02/b"], False),
        ({"path": "all*.zip"}, ["2016-02-01/a", "2016-02-02/b", "c"], True),
    ],
)
def test_a_selection_takes_members_and_the_others_stay_for_a_later_run(folder, selection, members, whole):
    zipped(folder, "all 2016-02-03.zip", **{"2016-02-01/a": b"1", "2016-02-02/b": b"22", "c": b"333"})
    batch = folder.batch(**selection)
    assert sorted(paths(batch.files)) == [f"all 2016-02-03.zip!iOS/{name}" for name in members]
    assert paths(batch.archives) == (["all 2016-02-03.zip"] if whole else [])


def test_an_archive_of_which_no_member_is_asked_for_is_not_recorded_and_where_none_can_be_not_opened(folder):
    zipped(folder, "all.zip", **{"2016-02-01/a": b"1"})
    folder.put("iOS/broken.zip", b"PK\x03\x04 nonsense")
    assert folder.batches(path="all.zip!*/b") == []
    assert folder.batches(path="iOS/a*") == []
    [(file, _)] = folder.batch(first=date(2017, 1, 1)).failed
    assert file.path == "iOS/broken.zip"


def test_a_damaged_archive_is_failed_with_its_reason(folder):
    folder.put("iOS/broken.zip", b"PK\x03\x04 nonsense")
    [(file, reason)] = folder.batch().failed
    assert file.path == "iOS/broken.zip"
    assert reason.startswith("not a readable ZIP")


def test_a_damaged_member_is_planned_though_its_checksum_cannot_be_taken_for_copies(folder):
    words = bytes(random.Random(1).choices(range(97, 123), k=5000))
    for name in ("a.zip", "b.zip"):
        (folder.root / "iOS").mkdir(exist_ok=True)
        with zipfile.ZipFile(folder.root / "iOS" / name, "w", zipfile.ZIP_LZMA) as content:
            content.writestr("a", words)
    damaged = bytearray((folder.root / "iOS/a.zip").read_bytes())
    damaged[200:260] = b"\xff" * 60
    (folder.root / "iOS/a.zip").write_bytes(damaged)
    assert sorted(paths(folder.batch().files)) == ["iOS/a.zip!a", "iOS/b.zip!a"]


def test_a_loose_file_that_is_also_a_member_is_read_once(folder):
    zipped(folder, "iOS/all.zip", a=b"content")
    folder.put("iOS/a", b"content")
    batch = folder.batch()
    assert len(batch.files) == 1
    assert len(batch.duplicates) == 1


def test_files_in_a_folder_that_cannot_be_listed_now_are_not_taken_for_gone(folder, monkeypatch):
    folder.put("iOS/locked/a")
    folder.put("iOS/locked/failed", b"xx")
    folder.know("iOS/locked/a")
    folder.know("iOS/locked/failed", FAILED)
    closed(monkeypatch, folder.root / "iOS/locked")
    plan = folder.plan()
    assert plan.removed == []
    [batch] = plan.batches
    assert (paths(batch.files), batch.given_up) == (["iOS/locked/"], [])
    folder.know("iOS/locked/", FAILED, read=False)
    monkeypatch.undo()
    assert [known.path for known in folder.batch().given_up] == ["iOS/locked/"]
