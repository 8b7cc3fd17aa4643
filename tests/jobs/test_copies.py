"""Copies are found as if every file was read whole, and mostly few are."""

from __future__ import annotations

import gzip
import io
import random
import re
from contextlib import contextmanager
from functools import partial

import pytest
from rich.console import Console

from jobs import copies
from jobs.backfill import show_plan
from jobs.checksum import BEGINNING
from jobs.discover import list_events
from jobs.lake import Lake
from jobs.plan import Selection, plan_listing
from tests.jobs.lakes import make_config
from tests.jobs.test_plan import Folder, paths, zipped

LARGE = 2 * BEGINNING


def content(begin, end=b"."):
    """A large content by its first and its last byte."""
    return begin + b"x" * (LARGE - 2) + end


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def read(monkeypatch):
    """The paths of files that are read whole, and of those of which the beginning is."""
    done = {"_checksum": [], "_beginning": []}
    for name, taken in done.items():
        monkeypatch.setattr(copies, name, partial(noted, taken, getattr(copies, name)))
    return done


def noted(taken, function, root, file):
    taken.append(file.path)
    return function(root, file)


def found(batches):
    """Paths of the files to read, and of the copies."""
    return (
        sorted(path for batch in batches for path in paths(batch.files)),
        sorted(copy.path for batch in batches for copy, _ in batch.duplicates),
    )


def test_large_files_that_begin_differently_are_not_read_whole(folder, read):
    for name in ("a", "b", "c"):
        folder.put(f"iOS/{name}", content(name.encode()))
    assert found(folder.batches()) == (["iOS/a", "iOS/b", "iOS/c"], [])
    assert sorted(read["_beginning"]) == ["iOS/a", "iOS/b", "iOS/c"]
    assert read["_checksum"] == []


def test_large_files_that_begin_alike_are_read_whole(folder, read):
    for name, end in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        folder.put(f"iOS/{name}", content(b"a", end))
    folder.put("iOS/d", content(b"d"))
    assert found(folder.batches()) == (["iOS/a", "iOS/c", "iOS/d"], ["iOS/b"])
    assert sorted(read["_checksum"]) == ["iOS/a", "iOS/b", "iOS/c"]


def test_small_files_are_read_once(folder, read):
    for name in ("a", "b"):
        folder.put(f"iOS/{name}", b"same")
    assert found(folder.batches()) == (["iOS/a"], ["iOS/b"])
    assert (sorted(read["_checksum"]), read["_beginning"]) == (["iOS/a", "iOS/b"], [])


def test_of_a_loaded_file_that_is_still_there_only_the_beginning_is_read(folder, read):
    folder.put("iOS/a", content(b"a"))
    folder.know("iOS/a")
    folder.put("iOS/b", content(b"a"))
    folder.put("iOS/c", content(b"c"))
    assert found(folder.batches()) == (["iOS/c"], ["iOS/b"])
    assert read["_checksum"] == ["iOS/b"]


def test_a_copy_of_a_loaded_file_that_is_gone_is_found(folder, read):
    folder.put("iOS/a", content(b"a"))
    folder.know("iOS/a")
    (folder.root / "iOS/a").unlink()
    folder.put("iOS/b", content(b"a"))
    folder.put("iOS/c", content(b"c"))
    assert found(folder.batches()) == (["iOS/c"], ["iOS/b"])
    assert sorted(read["_checksum"]) == ["iOS/b", "iOS/c"]


def test_large_members_and_loose_files_can_be_copies_of_each_other(folder, read):
    zipped(folder, "iOS/all.zip", a=content(b"a"), b=content(b"b"), c=content(b"c"))
    folder.put("iOS/a", content(b"a"))
    assert found(folder.batches()) == (
        ["iOS/a", "iOS/all.zip!iOS/b", "iOS/all.zip!iOS/c"],
        ["iOS/all.zip!iOS/a"],
    )
    assert sorted(read["_checksum"]) == ["iOS/a", "iOS/all.zip!iOS/a"]


def test_a_content_is_what_lies_on_disk_packed_or_not(folder):
    text = random.Random(1).randbytes(LARGE)
    for name, mtime in (("a.gz", 1), ("b.gz", 1), ("c.gz", 2)):
        folder.put(f"iOS/{name}", gzip.compress(text, mtime=mtime))
    assert found(folder.batches()) == (["iOS/a.gz", "iOS/c.gz"], ["iOS/b.gz"])


def test_a_file_that_cannot_be_read_is_no_copy(folder):
    for name in ("a", "b"):
        folder.put(f"iOS/{name}", content(b"a"))
    listing = list_events(str(folder.root), ())
    for name in ("a", "b"):
        (folder.root / "iOS" / name).unlink()
    batches = plan_listing(str(folder.root), listing, folder.ledger, Selection(), 1 << 30, {}).batches
    assert found(batches) == (["iOS/a", "iOS/b"], [])


def test_what_was_computed_is_not_computed_again(folder, read):
    for name in ("a", "b"):
        folder.put(f"iOS/{name}", content(name.encode()))
        folder.put(f"iOS/{name}-same", content(b"same"))
    listing, checksums = list_events(str(folder.root), ()), {}
    for _ in range(2):
        plan_listing(str(folder.root), listing, folder.ledger, Selection(), 1 << 30, checksums)
    assert (len(read["_beginning"]), len(read["_checksum"])) == (4, 2)


@pytest.mark.parametrize("seed", range(100))
def test_any_files_are_told_apart_as_by_all_of_their_content(folder, monkeypatch, seed):
    for module in ("copies", "checksum"):
        monkeypatch.setattr(f"jobs.{module}.BEGINNING", 3)
    choose = random.Random(seed)
    contents = {
        f"{platform}/{n}": choose.choices(b"ab", k=choose.choice([2, 5]))
        for n in range(8)
        for platform in ("iOS", "Android")
    }
    seen, wanted = set(), []
    known = choose.sample(sorted(contents), 4)
    for path in [*known, *sorted(contents.keys() - set(known))]:
        folder.put(path, bytes(contents[path]))
        key = path.partition("/")[0], bytes(contents[path])
        if path in known:
            folder.know(path)
            if choose.random() < 0.5:
                (folder.root / path).unlink()
        elif key not in seen:
            wanted.append(path)
        seen.add(key)
    others = sorted(contents.keys() - set(known) - set(wanted))
    assert found(folder.batches()) == (sorted(wanted), others)


def test_the_search_for_copies_can_be_watched(folder):
    for name in ("a", "b", "c"):
        folder.put(f"iOS/{name}", content(b"a"))
        folder.put(f"iOS/{name}{name}", content(name.encode(), b".."))
    shown = []

    @contextmanager
    def watch(text, total):
        shown.append((text, total, steps := []))
        yield lambda: steps.append(1)

    listing = list_events(str(folder.root), ())
    plan_listing(str(folder.root), listing, folder.ledger, Selection(), 1 << 30, {}, watch)
    assert [(text, total, len(steps)) for text, total, steps in shown] == [
        ("comparing how files begin", 6, 6),
        ("comparing whole files", 3, 3),
    ]


def test_a_dry_run_says_how_far_the_search_for_copies_is(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("jobs.progress._LINE_SECONDS", 0)
    for name in ("a", "b"):
        folder.put(f"events/iOS/{name}", content(b"a"))
    config = make_config(Lake(str(tmp_path / "lake"))).model_copy(update={"events": str(tmp_path / "events")})
    console = Console(file=io.StringIO(), width=140)
    show_plan(config, Selection(), console)
    assert re.findall(r"^comparing .*$", console.file.getvalue(), re.M) == [
        "comparing how files begin: 1 of 2",
        "comparing how files begin: 2 of 2",
        "comparing whole files: 1 of 2",
        "comparing whole files: 2 of 2",
    ]
