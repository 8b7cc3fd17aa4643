from __future__ import annotations

import errno
import os
import shutil
import time

import pytest
from deltalake import DeltaTable

from serving.contract import TABLES
from serving.state.publications import PublicationLog, runs
from tests.serving.lake import Lake, at


def settle(lake: Lake) -> None:
    """Make the log look as if it was last changed a while ago."""
    folder = lake.path / "publications" / "_delta_log"
    then = time.time() - 60
    os.utime(folder, (then, then))


def test_publications_come_newest_first_with_everything_the_row_says(lake):
    lake.publish(published_at="2016-01-01 00:00:00")
    lake.publish(published_at="2016-01-02 00:00:00", report={"views": 3})
    newest, older = PublicationLog(str(lake.path)).read()
    assert (newest.number, older.number) == (2, 1)
    assert newest.published_at == at("2016-01-02 00:00:00")
    assert newest.versions == dict.fromkeys(TABLES, 1)
    assert older.versions == dict.fromkeys(TABLES, 0)
    assert newest.job == "daily"
    assert newest.report == {"views": 3}
    assert newest.table_id == older.table_id


def test_a_lake_that_is_not_there_has_no_publication(lake):
    log = PublicationLog(str(lake.path))
    assert log.read() == []
    assert log.changed()


def test_a_folder_without_a_table_has_no_publication(lake):
    (lake.path / "publications").mkdir(parents=True)
    assert PublicationLog(str(lake.path)).read() == []


def test_a_log_whose_first_commit_has_not_ended_has_no_publication(lake):
    log = lake.path / "publications" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json#1").write_text("{half a com")
    assert PublicationLog(str(lake.path)).read() == []


def test_a_log_of_which_a_checkpoint_is_left_has_its_publications(lake):
    lake.publish()
    DeltaTable(str(lake.path / "publications")).create_checkpoint()
    (lake.path / "publications" / "_delta_log" / "00000000000000000000.json").unlink()
    assert [one.number for one in PublicationLog(str(lake.path)).read()] == [1]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("look", ["stat", "iterdir"])
def test_a_table_that_cannot_be_looked_at_is_not_taken_for_none(lake, unreachable, number, look):
    lake.publish()
    log = PublicationLog(str(lake.path))
    unreachable(number, look)
    with pytest.raises(OSError, match=os.strerror(number)):
        log.read()


def test_nothing_is_read_again_until_something_is_committed(lake):
    lake.publish()
    settle(lake)
    log = PublicationLog(str(lake.path))
    assert log.changed()
    log.read()
    assert not log.changed()
    lake.announce()
    assert log.changed()


def test_a_commit_within_the_same_tick_of_the_clock_is_not_overlooked(lake):
    lake.publish()
    log = PublicationLog(str(lake.path))
    log.read()
    assert log.changed(), "the log changed a moment ago, so it may change again without a newer time"


def test_a_lake_made_anew_has_another_identity_and_is_seen(lake):
    lake.publish()
    settle(lake)
    log = PublicationLog(str(lake.path))
    old = log.read()[0]
    lake.remove()
    assert log.changed()
    assert log.read() == []
    lake.publish()
    settle(lake)
    assert log.changed()
    new = log.read()[0]
    assert new.number == old.number
    assert new.table_id != old.table_id


def test_a_publication_that_could_not_be_served_is_tried_again(lake):
    lake.publish()
    settle(lake)
    log = PublicationLog(str(lake.path))
    log.read()
    log.forget()
    assert log.changed()


def test_a_report_that_is_no_object_is_left_out(lake, monkeypatch, caplog):
    lake.publish()
    monkeypatch.setattr("tests.serving.lake.json.dumps", lambda _: "[1, 2")
    lake.announce()
    monkeypatch.undo()
    publications = PublicationLog(str(lake.path)).read()
    assert publications[0].report == {}
    assert "not a JSON object" in caplog.text


def test_the_newest_ten_runs_are_told(lake):
    lake.publish(published_at="2016-01-01 00:00:00")
    for number in range(11):
        lake.announce(f"2016-01-02 00:00:{number:02}", report={"n": number})
    told = list(runs(PublicationLog(str(lake.path)).read()))
    assert [run["dataVersion"] for run in told] == list(range(12, 2, -1))
    assert told[0]["report"] == {"n": 10}
    assert told[0]["publishedAt"] == at("2016-01-02 00:00:10")


def test_a_table_that_vanishes_between_two_looks_is_no_error(lake):
    lake.publish()
    log = PublicationLog(str(lake.path))
    log.read()
    shutil.rmtree(lake.path)
    assert log.read() == []
