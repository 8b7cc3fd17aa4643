"""Any order of arrival, any cut into runs and batches: the same counts."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.lake import Lake
from jobs.schemas import COVERAGE, CTR_DAY, CTR_HOUR, CTR_MINUTE, VIEWS
from tests.faults.scenario import DAY, Night, rounds
from tests.rows import NOON, event, lines, message

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.slow]

Delivery = Callable[[Night], None]

IN_2040 = 2_209_032_000_000


def file(path: str, content: bytes, changed: int = 0) -> Delivery:
    return lambda night: night.put(path, content, changed)


def order(*statements: str) -> Delivery:
    return lambda night: night.sql(*statements)


def views(prefix: str | None, count: int, *, day: int = 0, product: str = "10_001") -> bytes:
    """Views a minute apart; without a prefix their messages have no ids."""
    return lines(
        *[
            message(event(product, NOON + day * DAY + n * 60_000), message_id=prefix and f"{prefix}-{n}")
            for n in range(count)
        ]
    )


CHAINS: tuple[tuple[Delivery, ...], ...] = (
    # Twice under the same name, then under other names, on other platforms, packed: by content, by message ids, or not at all.
    (file("iOS/2016-02-01/a", views("a", 5)), file("iOS/2016-02-01/a", views("a", 5), 60)),
    (file("iOS/2016-02-02/a again", views("a", 5)),),
    (file("iOS/2016-02-02/a and more.gz", gzip.compress(views("a", 5) + views("b", 3), mtime=0)),),
    (file("Android/2016-02-01/a", views("a", 5)),),
    # Without message ids only the ledger protects: copies of one content, before and after that content changed.
    (file("iOS/2016-02-01/c", views(None, 4)), file("iOS/2016-02-01/c", views(None, 6, product="c"), 60)),
    (file("iOS/2016-02-01/c (1)", views(None, 4)),),
    (file("iOS/2016-02-01/c (2)", views(None, 4)),),
    # A file that becomes a copy of another, and one that becomes another and then, time of change too, what it was.
    (file("iOS/2016-02-01/d", views(None, 7, product="d")), file("iOS/2016-02-01/d", views(None, 3, product="e"), 60)),
    (file("iOS/2016-02-01/e", views(None, 3, product="e")),),
    (
        file("iOS/2016-02-01/f", views(None, 2, product="f")),
        file("iOS/2016-02-01/f", views(None, 9, product="wrong"), 60),
        file("iOS/2016-02-01/f", views(None, 2, product="f")),
    ),
    # Changed to another day; cut, then whole; changed to a cut one, then whole; late; early; a clock in 2040; empty.
    (file("MobileWeb/2016-02-03/g", views("g", 5, day=2)), file("MobileWeb/2016-02-03/g", views("g", 5, day=1), 60)),
    (
        file("MobileWeb/2016-02-03/h.gz", gzip.compress(views("h", 50), mtime=0)[:-9]),
        file("MobileWeb/2016-02-03/h.gz", gzip.compress(views("h", 50), mtime=0), 60),
    ),
    (
        file("MobileWeb/2016-02-03/i.gz", gzip.compress(views(None, 5), mtime=0)),
        file("MobileWeb/2016-02-03/i.gz", gzip.compress(views(None, 50), mtime=0)[:-9], 60),
        file("MobileWeb/2016-02-03/i.gz", gzip.compress(views(None, 8), mtime=0), 120),
    ),
    # A copy of what that was at first, which it may not be any more when the copy comes.
    (file("MobileWeb/2016-02-03/i (1).gz", gzip.compress(views(None, 5), mtime=0)),),
    (file("Android/2016-02-09/late", views("late", 5, day=-400)),),
    (file("Android/2016-02-09/early", views("early", 5, day=3)),),
    (file("Android/2016-02-09/clock", lines(message(event("clock", IN_2040)))),),
    (file("Android/2016-02-09/empty", b""),),
    (
        order("insert into orders values (2, '2016-02-01 10:00:00', 'paid', 'iPhone')"),
        order("insert into order_items values (2, 2, '10_001')"),
        order("update orders set order_date = '2015-01-01 10:00:00' where id = 2"),
    ),
    (
        order("insert into orders values (3, '2016-02-02 10:00:00', 'paid', 'Android')"),
        order("insert into order_items values (3, 3, 'd'), (4, 3, 'd')"),
        order("delete from order_items where id = 4"),
    ),
)
"""What arrives; within a chain in this order, between chains in any."""


def play(spark, root: Path, choose: random.Random | None) -> Path:
    """The lake after all arrived and was loaded: at once without ``choose``, else shuffled, in many runs and batches."""
    night, lake = Night(root), root / "lake"
    (root / "events").mkdir(parents=True)
    night.sql(
        "create table orders (id integer, order_date text, status text, device text)",
        "create table order_items (id integer, order_id integer, code_color text)",
    )
    order_of = [number for number, chain in enumerate(CHAINS) for _ in chain]
    if choose:
        choose.shuffle(order_of)
    left = [list(chain) for chain in CHAINS]
    for number in order_of:
        left[number].pop(0)(night)
        if choose and choose.random() < 0.25:
            batch_bytes = choose.choice([1, 500, 1 << 30])
            night.run(spark, lake, choose.choice(["daily", "backfill"]), batch_bytes=batch_bytes)
    night.run(spark, lake)
    [after] = night.run(spark, lake)
    assert (after.publication, after.files["planned"]) == (None, 0), "a run without news finds something to do"
    return lake


def counts(path: Path):
    """What answers come from; a day of a platform that lost all its rows counts as one that never had any."""
    lake = Lake(str(path))
    found = {
        table.name: sorted(map(tuple, (row.values() for row in lake.read(table).to_pylist())), key=repr)
        for table in (CTR_MINUTE, CTR_HOUR, CTR_DAY)
    }
    covered = [row for row in lake.read(COVERAGE).to_pylist() if row["views"] or row["purchases"]]
    found["coverage"] = sorted((tuple(row.values()) for row in covered), key=repr)
    rows = lake.read(VIEWS, ["date", "platform", "product", "time", "message_id", "position"]).to_pylist()
    found["views"] = sorted((tuple(row.values()) for row in rows), key=repr)
    return found


@pytest.fixture(scope="module")
def at_once(spark, tmp_path_factory):
    return counts(play(spark, tmp_path_factory.mktemp("order") / "at_once", None))


def test_all_at_once_gives_what_the_rules_say(at_once):
    days = {row[:3]: row[4:] for row in at_once["ctr_day"]}
    by_name = {(f"{day:%Y-%m-%d}", platform, product): sums for (day, platform, product), sums in days.items()}
    assert by_name == {
        ("2016-02-01", "iOS", "10_001"): (5 + 3 + 4, 0),
        ("2016-02-01", "iOS", "c"): (6, 0),
        ("2016-02-01", "iOS", "e"): (3, 0),
        ("2016-02-01", "iOS", "f"): (2, 0),
        ("2016-02-01", "Android", "10_001"): (5, 0),
        ("2016-02-02", "MobileWeb", "10_001"): (5, 0),
        ("2016-02-01", "MobileWeb", "10_001"): (50 + 8 + 5, 0),
        ("2014-12-28", "Android", "10_001"): (5, 0),
        ("2016-02-04", "Android", "10_001"): (5, 0),
        ("2040-01-01", "Android", "clock"): (1, 0),
        ("2015-01-01", "iOS", "10_001"): (0, 1),
        ("2016-02-02", "Android", "d"): (0, 1),
    }


@pytest.mark.parametrize("seed", range(rounds(4, 20)))
def test_a_permutation_of_arrivals_gives_the_same_counts(spark, tmp_path, at_once, seed):
    found = counts(play(spark, tmp_path / "world", random.Random(seed)))
    for name, rows in at_once.items():
        assert found[name] == rows, f"seed {seed}: {name}"
