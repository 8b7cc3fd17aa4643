"""The quarantine tried again: by a rule that was put right, a higher limit, a file that is back; and what is not touched."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import zipfile
from collections import Counter
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone

import pytest
from rich.console import Console

from jobs import replay as job
from jobs.decoding.records import Account
from jobs.errors import AccountError, JobError, UsageError
from jobs.events import gather, read_task
from jobs.lake import Lake
from jobs.ledger import account_columns, newest_statements
from jobs.progress import Stages
from jobs.publish import newest_publication, publish
from jobs.quarantine import Asked
from jobs.replay.original import CHANGED, GONE
from jobs.replay.redecode import decode_events
from jobs.replay.retry import NOT_LOADED, UNUSABLE_MESSAGE, Retry, Source
from jobs.schemas import COVERAGE, CTR_DAY, CTR_HOUR, CTR_MINUTE, FILES, QUARANTINE, VIEWS
from tests.jobs.lakes import make_config, make_lake, tree
from tests.jobs.test_run import DAY, World
from tests.rows import NOON, event, lines, message

pytestmark = [pytest.mark.spark, pytest.mark.slow]

QUIET = Console(quiet=True)
LONG = "a product of many letters"
TODAY = datetime.now(timezone.utc).date()
CHANGED_AT = 1_460_000_000


def in_this_process(_spark, tasks, reading):
    """As ``read_events``, where patched rules hold: Spark's workers are other processes."""
    return gather(json.loads(json.dumps([list(result) for task in tasks for result in read_task(task, reading)])))


@pytest.fixture
def world(spark, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.run.read_events", in_this_process)
    return World(spark, tmp_path / "one")


def replay(world, asked=None, **settings):
    return job.replay(world.config(**settings), asked or Asked(), Stages(QUIET), lambda: nullcontext(world.spark))


def load_by_stricter_rules(world, monkeypatch):
    """A run that takes too few products, and too few times."""
    with monkeypatch.context() as patched:
        for module in ("message", "collect"):
            patched.setattr(f"jobs.decoding.{module}.PRODUCT_CHARACTERS", 10)
            patched.setattr(f"jobs.decoding.{module}.END_MS", NOON + DAY)
        world.run(quarantine_limit=1)


def put_all(world):
    """Files of several layouts with good events, events of a long product or a late time, and broken records."""
    good, late = message(event(), message_id="1"), message(event("late", NOON + DAY), message_id="2")
    mixed = message(event("b"), event(LONG), event(kind="other"), event(""), event(LONG, NOON + DAY), message_id="3")
    nameless = message(event(LONG), message_id=None)
    world.put("iOS/lines", lines(good, mixed, late) + b"broken\n" + lines(nameless), changed=CHANGED_AT)
    pretty = json.dumps([mixed, late, nameless], indent=2).encode()[:-1] + b', {"events": 5}]'
    world.put("Android/array.gz", gzip.compress(pretty, mtime=0), changed=CHANGED_AT)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("member"), lines(late, mixed))
    world.put("MobileWeb/some.zip", packed.getvalue(), changed=CHANGED_AT)


def multiset(rows, *leave_out):
    return Counter(tuple(value for name, value in row.items() if name not in leave_out) for row in rows)


def content(lake):
    """All that a lake says, but when and in which batch it was said."""
    found = {
        table.name: multiset(lake.read(table).to_pylist(), "batch")
        for table in (VIEWS, QUARANTINE, CTR_MINUTE, CTR_HOUR, CTR_DAY, COVERAGE)
    }
    found["files"] = multiset(newest_statements(lake.read(FILES)).to_pylist(), "batch", "recorded_at")
    return found


def test_after_a_rule_was_put_right_the_tables_are_those_of_a_load_by_the_right_rule(world, tmp_path, monkeypatch):
    put_all(world)
    load_by_stricter_rules(world, monkeypatch)
    versions, files = world.lake.versions(), tree(world.lake)
    said = job.preview(world.config(), Asked(), Stages(QUIET))
    assert (world.lake.versions(), tree(world.lake)) == (versions, files)

    report = replay(world)
    assert (said.total, said.partitions, said.publication) == (report.total, report.partitions, None)
    assert (report.publication, report.total.unread, report.partitions) == (2, {}, 6)
    tally = report.tallies["product_length"]
    assert (tally.tried, tally.views, tally.added) == (8, 8, 8)
    assert (report.tallies["time_range"].views, report.tallies["product_empty"].quarantined) == (3, 3)

    right = World(world.spark, tmp_path / "two")
    put_all(right)
    right.run(quarantine_limit=1)
    here, there = content(world.lake), content(right.lake)
    for name in here:
        assert here[name] == there[name], name
    newest = newest_publication(world.lake)
    assert all(newest[f"{name}_version"] == version for name, version in world.lake.versions().items())

    versions, files = world.lake.versions(), tree(world.lake)
    again = replay(world)
    assert (again.publication, again.total.tried, again.total.quarantined) == (None, 5, 5)
    assert (world.lake.versions(), tree(world.lake)) == (versions, files)
    assert world.run()[0].publication is None  # nothing of it is read anew


def load_long_records(world):
    short, long = ({**message(message_id=size), "pad": "x" * int(size)} for size in ("2000", "200000"))
    world.put("iOS/lines", lines(message(), short, long) + b"y" * 300 + b"\n", changed=CHANGED_AT)
    world.run(record_bytes=1000, quarantine_limit=1)


def test_a_higher_limit_is_met_by_raw_text_and_where_that_was_cut_by_the_file(world):
    load_long_records(world)
    path = world.path / "events/iOS/lines"
    bytes_of_it = path.read_bytes()
    path.unlink()
    report = replay(world, record_bytes=300_000)
    tally = report.tallies["too_long"]
    assert (tally.tried, tally.views, tally.quarantined, tally.unread) == (2, 1, 1, {GONE: 1})
    assert f"rows that were not tried: 1: {GONE}" in report.warnings
    path.write_bytes(bytes_of_it)
    assert replay(world, record_bytes=300_000).total.unread == {CHANGED: 1}
    os.utime(path, (CHANGED_AT, CHANGED_AT))
    assert replay(world, record_bytes=300_000).tallies["too_long"].views == 1
    assert sorted(row["message_id"] for row in world.lake.read(VIEWS).to_pylist()) == ["2000", "200000", "m-1"]
    assert [row["raw"] for row in world.lake.read(QUARANTINE).to_pylist()] == [b"y" * 300]


def test_a_limit_that_is_still_too_low_changes_nothing(world):
    load_long_records(world)
    report = replay(world, record_bytes=1500)
    assert (report.publication, report.total.quarantined, report.total.unread) == (None, 3, {})


def test_a_lower_limit_gives_another_reason_and_costs_no_event(world):
    world.put("iOS/lines", lines(message(event(""), event("b"))) + b"y" * 300 + b"\n")
    world.run(quarantine_limit=1)
    report = replay(world, record_bytes=100)
    assert (report.publication, report.partitions) == (2, 0)
    assert report.total.unread == {UNUSABLE_MESSAGE: 1}
    found = {row["raw_bytes"]: (row["reason"], row["detail"]) for row in world.lake.read(QUARANTINE).to_pylist()}
    assert found[300] == ("too_long", "found 300 bytes")
    assert sorted(reason for reason, _ in found.values()) == ["product_empty", "too_long"]
    assert replay(world, record_bytes=100).publication is None


def test_a_record_that_is_a_message_now_leaves_its_bad_events_in_the_quarantine(world):
    padded = {**message(event("b"), event(""), event(kind="other")), "pad": "x" * 2000}
    nothing = {**message(event(kind="other")), "pad": "x" * 2000}
    world.put("iOS/lines", lines(padded, nothing))
    world.run(record_bytes=1000, quarantine_limit=1)
    [statement] = newest_statements(world.lake.read(FILES)).to_pylist()
    tally = replay(world).tallies["too_long"]
    assert (tally.tried, tally.views, tally.ignored, tally.quarantined) == (2, 1, 1, 0)
    [left] = world.lake.read(QUARANTINE).to_pylist()
    assert (left["reason"], left["position"], left["offset"], left["batch"]) == ("product_empty", 1, 0, 1)
    [corrected] = newest_statements(world.lake.read(FILES)).to_pylist()
    names = ("records", "decoded", "quarantined_records", "events", "views", "ignored", "quarantined_events")
    assert [corrected[name] for name in names] == [2, 2, 0, 4, 1, 2, 1]
    assert (statement["first_time"], corrected["first_time"]) == (None, corrected["last_time"])
    for name in ("recorded_at", "checksum", "bytes", "lines", "layout", "state"):
        assert corrected[name] == statement[name]


def test_a_file_that_is_replaced_after_a_replay_leaves_nothing_behind(world):
    earlier = {**message(event(time=NOON - 5 * DAY), message_id="2"), "pad": "x" * 2000}
    world.put("iOS/lines", lines(message(event(), event("")), earlier), changed=CHANGED_AT)
    world.run(record_bytes=1000, quarantine_limit=1)
    assert replay(world).total.views == 1
    world.put("iOS/lines", lines(message(event("new"))), changed=CHANGED_AT + 1)
    world.run()
    assert [row["product"] for row in world.lake.read(VIEWS).to_pylist()] == ["new"]
    assert world.lake.read(QUARANTINE).num_rows == 0


def test_only_rows_that_are_asked_for_are_tried(world, monkeypatch):
    put_all(world)
    load_by_stricter_rules(world, monkeypatch)
    config, stages = world.config(), Stages(QUIET)

    def tried(**asked):
        return {reason: tally.tried for reason, tally in job.preview(config, Asked(**asked), stages).tallies.items()}

    assert tried(reasons=("time_range", "stray_text")) == {"stray_text": 1, "time_range": 3}
    assert tried(path="Android/*") == {"events_type": 1, "product_empty": 1, "product_length": 3, "time_range": 1}
    assert tried(path="*.zip!member") == {"product_empty": 1, "product_length": 2, "time_range": 1}
    assert tried(first=TODAY + timedelta(days=1)) == tried(last=TODAY - timedelta(days=2)) == {}
    assert sum(tried(first=TODAY - timedelta(days=1), last=TODAY).values()) == 16
    report = replay(world, Asked(reasons=("time_range",), path="iOS/*"))
    assert (report.total.tried, report.total.views) == (1, 1)
    assert sum(tried().values()) == 15


def test_a_replay_that_dies_at_any_step_is_taken_back_and_a_plain_replay_repeats_it(world, monkeypatch):
    load_long_records(world)

    def die(*_):
        raise RuntimeError("killed")

    for step in ("record", "recompute", "check_quality", "publish"):
        with monkeypatch.context() as patched:
            patched.setattr(f"jobs.replay.{step}", die)
            with pytest.raises(RuntimeError):
                replay(world)
    report = replay(world)
    assert "taken back: " in report.warnings[0]
    assert (report.publication, report.total.views, world.lake.read(VIEWS).num_rows) == (2, 2, 3)
    assert (newest_publication(world.lake)["job"], world.days()) == ("replay", [("02-01", "iOS", "10_001", 3, 1)])


def test_an_event_file_that_changes_while_it_is_read_again_changes_nothing(world, monkeypatch):
    world.put("iOS/lines", lines(message(event(LONG)), message(event(LONG, NOON + 1))))
    load_by_stricter_rules(world, monkeypatch)
    before = content(world.lake)

    def touching(text, offset):
        os.utime(world.path / "events/iOS/lines", (1, 1))
        return decode_events(text, offset)

    monkeypatch.setattr("jobs.replay.retry.decode_events", touching)
    with pytest.raises(JobError, match="iOS/lines changed while it was read again"):
        replay(world)
    assert content(world.lake) == before


def test_rows_of_a_file_that_the_ledger_does_not_know_stay_and_are_told(world):
    load_long_records(world)
    world.lake.overwrite(FILES, world.lake.read(FILES).slice(0, 0), 2)
    publish(world.lake, 2, "test", {})
    assert replay(world).total.unread == {NOT_LOADED: 3}
    assert replay(world, Asked(path="*")).total.tried == 0


def test_counts_that_would_not_add_up_are_refused(tmp_path):
    known = {"path": "iOS/a", **account_columns(Account(records=3, decoded=3, layout="lines"))}
    tried = Retry(make_config(make_lake(tmp_path)), {"f": Source(None, known)}, lambda *_: None)
    tried.accounts["f"] = Account(quarantined_records=-1)
    with pytest.raises(AccountError, match=r"iOS/a: 3 records read, but 3 decoded \+ -1 quarantined"):
        job.corrected(tried, 2)


def test_an_account_comes_back_from_the_ledger_as_it_was():
    account = Account(100, 9, 8, 5, 2, 1, 7, 4, 2, 1, NOON + 7, NOON + DAY + 1, "array/gzip")
    assert job.account_of(account_columns(account)) == account
    assert job.account_of(account_columns(Account())) == Account()


def command(config, *flags):
    """The job as the command line runs it: exit code and what it printed."""
    parser = argparse.ArgumentParser()
    job.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["replay", *flags])
    printed = io.StringIO()
    return arguments.run(arguments, config, Console(file=printed, width=160)), printed.getvalue()


def test_the_command_shows_what_became_of_each_reason(world):
    load_long_records(world)
    code, printed = command(world.config(), "--dry-run", "--reason", "too_long", "not_utf8", "--from", "2016-01-01")
    assert code == 0
    assert "what would be done" in printed
    [row] = [line.split("│")[1:-1] for line in printed.splitlines() if "too_long" in line]
    assert [cell.strip() for cell in row] == ["too_long", "2", "2", "0", "0", "0", "2"]
    assert "days of platforms to recompute: 1; " in printed
    code, printed = command(world.config(), "--reason", "time_text")
    assert (code, printed) == (0, "replay: nothing has changed: no row of the quarantine is asked for\n")
    assert newest_publication(world.lake)["publication"] == 1


def test_wrong_use_is_one_clear_line(tmp_path):
    with pytest.raises(JobError, match="no lake at"):
        command(make_config(Lake(str(tmp_path / "none"))))
    lake = make_lake(tmp_path / "lake")
    with pytest.raises(JobError, match="nothing is published"):
        command(make_config(lake), "--dry-run")
    with pytest.raises(UsageError, match="order_date_missing: wanted reasons of events, of too_long, not_utf8"):
        command(make_config(lake), "--reason", "order_date_missing")
    with pytest.raises(UsageError, match="--from 2016-02-02 lies after --to 2016-02-01"):
        command(make_config(lake), "--from", "2016-02-02", "--to", "2016-02-01")
