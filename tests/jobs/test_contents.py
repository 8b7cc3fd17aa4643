"""Whatever comes, goes, changes and comes back under whatever paths: each content that a path held last counts once, in any order.

The path of the data is the real one, but for Spark, which would only call the same functions elsewhere, and the purchases.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from contextlib import nullcontext, suppress
from fnmatch import fnmatch
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

import jobs.copies
import jobs.events
import jobs.rollup
import jobs.run
from jobs.audit.views import find_change, find_files
from jobs.config import Config
from jobs.inventory import lake_status
from jobs.lake import Lake
from jobs.ledger import Ledger
from jobs.plan import Selection
from jobs.progress import Stages
from jobs.publish import published
from jobs.purchases import Purchases
from jobs.schemas import CTR_DAY, PUBLICATIONS, VIEWS
from tests.rows import event, lines, message

VIEWS_OF_ONE = 2
"""Of each content; all contents have one size, and every other begins as another does."""

QUIET = Console(file=io.StringIO())


class Died(BaseException):
    """The run is dead: no handler of the product may catch this."""


@pytest.fixture(autouse=True)
def without_spark(monkeypatch):
    def run_here(_spark, function, tasks):
        return [row for task in tasks for row in function(task)]

    monkeypatch.setattr(jobs.events, "run_tasks", run_here)
    monkeypatch.setattr(jobs.rollup, "run_tasks", run_here)
    monkeypatch.setattr(Stages, "tasks", lambda *_: nullcontext())
    monkeypatch.setattr(jobs.run.Run, "_purchases", lambda *_: Purchases())
    monkeypatch.setattr(jobs.copies, "BEGINNING", 100)


def content(number):
    """An event file with two views of a product of its own, without message ids."""
    pad = ("same" if number % 2 else f"own{number}").ljust(120)
    event_of = event(f"p{number}")
    return lines(*[{"pad": pad, **message(event_of, message_id=None)}] * VIEWS_OF_ONE)


CONTENTS = {content(number): f"p{number}" for number in range(5)}


def cut(number):
    """What cannot be read to its end."""
    return gzip.compress(content(number) * 3, mtime=0)[:-9]


def zipped(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


class World:
    """Event files, a lake, and what it has to count: by path what was readable there last."""

    def __init__(self, root):
        self.events, self.lake = root / "events", Lake(str(root / "lake"))
        (self.events / "iOS").mkdir(parents=True)
        one_file = len(content(0)) * 3 // 2
        self.config = Config(
            events=str(self.events), lake=self.lake.root, purchases_url="jdbc:sqlite:none", batch_bytes=one_file
        )
        self.clock, self.held, self.backups = 1_460_000_000, {}, []

    def put(self, path, data, changed=None):
        self.clock += 10
        self.remove(path)
        file = self.events / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (changed or self.clock,) * 2)

    def remove(self, path):
        file = self.events / path
        if file.exists():
            self.backups.append((path, file.read_bytes(), int(file.stat().st_mtime)))
            file.unlink()

    def restore(self, number):
        """A file that was there, with the time that it had."""
        if self.backups:
            path, data, changed = self.backups[number % len(self.backups)]
            self.put(path, data, changed)

    def put_back(self, path):
        """What stood there before, with its time."""
        before = [number for number, backup in enumerate(self.backups) if backup[0] == path]
        if before:
            self.restore(before[-1])

    def touch(self, path):
        if (self.events / path).exists():
            self.put(path, (self.events / path).read_bytes())

    def move(self, path, to):
        if (self.events / path).exists() and path != to:
            self.remove(to)
            (self.events / to).parent.mkdir(parents=True, exist_ok=True)
            (self.events / path).rename(self.events / to)

    def run(self, path=None):
        """A run, and what every publication of it has to hold."""
        spark = SimpleNamespace(sparkContext=SimpleNamespace(defaultParallelism=1))
        before, first = set(self.held.values()), self.lake.exists() and self._publications()
        run = jobs.run.Run(self.config, "daily", spark, Stages(QUIET), Selection(path=path))
        reports = run(lambda report: report.show(QUIET))
        self._look(path)
        stays = before & set(self.held.values())
        for publication in range((first or 0) + 1, self._publications() + 1):
            assert stays <= self.counted(publication).keys(), f"publication {publication} lacks what was always there"
        assert self.counted() == dict.fromkeys(set(self.held.values()), VIEWS_OF_ONE)
        return reports

    def counted(self, publication=None):
        """Views by product, as a publication has them in both ``views`` and ``ctr_day``."""
        rows = {row["publication"]: row for row in self.lake.read(PUBLICATIONS).to_pylist()}
        if not rows:
            return {}
        row = rows[publication or max(rows)]
        views = self.lake.read(VIEWS, ["product"], version=row["views_version"])["product"].value_counts().to_pylist()
        days = self.lake.read(CTR_DAY, version=row["ctr_day_version"]).to_pylist()
        found = {view["values"]: view["counts"] for view in views}
        assert found == {day["product"]: day["views"] for day in days}
        return found

    def _publications(self):
        return self.lake.read(PUBLICATIONS).num_rows

    def _look(self, path):
        for file in sorted(file for file in self.events.rglob("*") if file.is_file()):
            name, data = str(file.relative_to(self.events)), file.read_bytes()
            if path is None or fnmatch(name, path):
                self._hold(name, data)
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    for member in archive.namelist():
                        inside = f"{name}!{member}"
                        if path is None or fnmatch(inside, path) or fnmatch(name, path):
                            self._hold(inside, archive.read(member))

    def _hold(self, path, data):
        if data in CONTENTS:
            self.held[path] = CONTENTS[data]


LOOSE = [f"iOS/2016-01-0{day}/{name}" for day, name in ((1, "a"), (3, "a"), (1, "b"), (3, "b"))]
ZIPS = ["iOS/2016-01-01/z.zip", "iOS/2016-01-03/z.zip"]
numbers = st.integers(0, 2) | st.integers(0, 4)
"""Mostly few, so that the same meet again and again."""
data = st.one_of(numbers.map(content), numbers.map(content), numbers.map(content), numbers.map(cut))
members = st.dictionaries(st.sampled_from(["2016-01-01-m", "2016-01-02-m", "2016-01-03-m"]), data, min_size=1)
loose = st.sampled_from(LOOSE)
changes = st.one_of(
    st.tuples(st.just("put"), loose, data),
    st.tuples(st.just("put"), st.sampled_from(ZIPS), members.map(zipped)),
    st.tuples(st.just("put"), st.sampled_from(ZIPS), members.map(lambda found: zipped(found)[:-30])),
    st.tuples(st.just("touch"), loose),
    st.tuples(st.just("move"), loose, loose),
    st.tuples(st.just("remove"), st.sampled_from(LOOSE + ZIPS)),
    st.tuples(st.just("restore"), st.integers(0, 20)),
)
runs = st.tuples(st.just("run"), st.sampled_from([None, None, "iOS/2016-01-01/*", "*a", "*.zip*", f"{ZIPS[1]}!*"]))
deaths = st.tuples(st.just("die"), st.integers(1, 12))


def dies_at(monkeypatch, number):
    """The run dies at its n-th write."""
    writes = iter(range(1, number))

    def killable(write):
        def written(*arguments, **named):
            if next(writes, None) is None:
                raise Died
            return write(*arguments, **named)

        return written

    for name in ("commit", "append", "overwrite"):
        monkeypatch.setattr(Lake, name, killable(getattr(Lake, name)))


@pytest.mark.slow
@given(st.lists(st.one_of(changes, changes, changes, runs, runs, deaths), min_size=2, max_size=25))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_each_content_that_a_path_held_last_counts_once_in_every_publication(tmp_path_factory, steps):
    world = World(tmp_path_factory.mktemp("world"))
    for name, *arguments in steps:
        if name == "die":
            with pytest.MonkeyPatch.context() as patch, suppress(Died):  # if there is so much to do
                dies_at(patch, *arguments)
                world.run()
            world.run()
        else:
            getattr(world, name)(*arguments)
    world.run()
    world.run()
    assert [report.publication for report in world.run()] == [None], "a run without news finds something to do"


few = st.sampled_from(["iOS/a", "iOS/b", "iOS/c"])
returns = st.one_of(
    st.tuples(st.just("put"), few, st.integers(0, 2).map(content)),
    st.tuples(st.just("put_back"), few),
)


@pytest.mark.slow
@given(st.lists(returns, min_size=3, max_size=9))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_three_files_that_are_copies_of_each_other_in_turn_and_come_back_as_they_were(tmp_path_factory, steps):
    world = World(tmp_path_factory.mktemp("world"))
    for path, number in (("iOS/a", 0), ("iOS/b", 0), ("iOS/c", 1)):
        world.put(path, content(number))
    world.run()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
        world.run()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_members_that_are_copies_are_known_though_their_originals_are_read_batches_later(world):
    world.put("iOS/2016-01-01/a", content(0))
    world.put("iOS/2016-01-03/b", content(1))
    world.put("iOS/2016-01-03/z.zip", zipped({"m": content(0)}))
    world.run()
    states = {known.path: known.state for known in Ledger.read(world.lake).statements.values()}
    assert states["iOS/2016-01-03/z.zip!m"] == "duplicate"
    world.put("iOS/2016-01-01/a", content(2))
    world.run()
    assert world.counted().keys() == {"p0", "p1", "p2"}


@pytest.mark.slow
@pytest.mark.parametrize("selection", [None, "*/a", "*.zip"])
@pytest.mark.parametrize(
    ("original", "copy"),
    [("iOS/2016-01-03/a", "iOS/2016-01-01/b"), ("iOS/2016-01-01/a", "iOS/2016-01-03/b"), ("zip", "b"), ("a", "zip")],
)
def test_what_a_changed_file_held_stays_in_every_publication_while_a_copy_holds_it(world, original, copy, selection):
    def put(path, number):
        if path == "zip":
            world.put("iOS/z.zip", zipped({"m": content(number)}))
        else:
            world.put(path if path.startswith("iOS") else f"iOS/{path}", content(number))

    put(original, 0)
    world.run()
    put(copy, 0)
    world.run()
    put(original, 1)
    world.run(selection)
    world.run()
    assert world.counted().keys() == {"p0", "p1"}
    put(copy, 2)
    world.run()
    assert world.counted().keys() == {"p1", "p2"}


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_copy_that_was_taken_away_keeps_its_content_whichever_was_loaded(world, first):
    second = "b" if first == "a" else "a"
    world.put(f"iOS/{first}", content(0))
    world.run()
    world.put(f"iOS/{second}", content(0))
    world.run()
    world.remove("iOS/b")
    [report] = world.run()
    told = any("gone from the source" in warning and "iOS/b" in warning for warning in report.warnings)
    assert told == (first == "b"), "a copy that was not loaded has no rows that could stay"
    world.put("iOS/a", content(1))
    world.run()
    assert world.counted().keys() == {"p0", "p1"}


def test_a_copy_that_is_put_back_with_its_old_time_holds_what_it_held_then(world):
    for path, number in (("iOS/a", 0), ("iOS/b", 0), ("iOS/c", 1)):
        world.put(path, content(number))
    world.run()
    world.put("iOS/b", content(1))
    world.run()
    world.restore(0)
    [report] = world.run()
    assert report.publication is not None
    world.put("iOS/c", content(2))
    world.run()
    assert world.counted().keys() == {"p0", "p2"}
    assert world.run()[0].publication is None


def test_an_archive_that_is_put_back_with_its_old_time_is_looked_into_once(world):
    for number in (0, 1):
        world.put("iOS/z.zip", zipped({"m": content(number)}))
        world.run()
    world.restore(0)
    world.run()
    assert world.counted().keys() == {"p0"}
    assert world.run()[0].publication is None


def test_a_file_that_is_delivered_again_is_read_again_and_its_copies_are_copies_of_it(world):
    for name in "abc":
        world.put(f"iOS/{name}", content(0))
    world.run()
    world.touch("iOS/b")
    [report] = world.run()
    assert (report.files["planned"], report.files["replaced"]) == (1, 1)
    states = {known.path: known.state for known in Ledger.read(world.lake).statements.values()}
    assert states == {"iOS/a": "duplicate", "iOS/b": "loaded", "iOS/c": "duplicate"}
    assert lake_status(world.lake.root)["files"] == {"duplicate": 3, "loaded": 1}  # b as it was, too


def test_an_audit_finds_the_rows_of_a_changed_file_in_the_copy_that_has_them_now(world):
    world.put("iOS/a", content(0))
    world.put("iOS/b", content(0))
    world.run()
    world.put("iOS/a", content(1))
    world.run()
    found = find_files(world.lake, published(world.lake))
    assert [(file.file.path, file.views) for file in found] == [("iOS/a", VIEWS_OF_ONE), ("iOS/b", VIEWS_OF_ONE)]
    assert [find_change(world.config.events, file.file) for file in found] == [None, None]
