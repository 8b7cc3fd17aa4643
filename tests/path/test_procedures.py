"""The procedures of docs/operations.md, played line by line on a lake of the sample: from the first load to a full disk."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.lake import Lake
from jobs.sql import connect
from tests.conftest import ROOT
from tests.test_operations import TEXT, blocks

NONE_DIFFERENT = r"│ [1-9]\d* +│ [1-9]\d* +│ 0 +│ \d+ +│\n└"
"""The end of an audit's table: cells checked, the same, different, not checkable."""

pytestmark = [pytest.mark.path, pytest.mark.slow]


def lines_of(title: str, number: int = 0) -> list[str]:
    """The commands of a section's block of that number."""
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert section, title
    return blocks(section)[number]


class Operator:
    """Somebody who types the lines of the document, with the settings of the nights in the shell."""

    def __init__(self, folder: Path, sample_lake) -> None:
        self.lake, self.events = folder / "lake", folder / "events"
        shutil.copytree(sample_lake.events, self.events)
        shop = shutil.copy(sample_lake.database_url.removeprefix("jdbc:sqlite:"), folder / "shop.db")
        self.env = {
            "CTR_EVENTS": str(self.events),
            "CTR_LAKE": str(self.lake),
            "CTR_PURCHASES_URL": f"jdbc:sqlite:{shop}",
            "NIGHTLY_LOG": str(folder / "nightly.log"),
            "BACKUP": str(folder / "backup"),
        }

    def types(self, *commands: str) -> str:
        """What the commands print; each ends well, or as one that found a data-quality limit passed."""
        printed = ""
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=ROOT,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode in (0, 3), f"{command}: {done.returncode}\n{done.stdout[-3000:]}"
            printed += done.stdout
        return printed

    def counts(self) -> str:
        """What readers see: views and purchases by day and platform."""
        query = "SELECT date, platform, sum(views) v, sum(purchases) p FROM ctr_day GROUP BY ALL HAVING v + p > 0 ORDER BY ALL"
        return self.types(f'scripts/python.sh -m jobs.sql "{query}"')


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not here, with which the document copies a lake")
def test_what_the_document_says_works(sample_lake, tmp_path):
    operator = Operator(tmp_path, sample_lake)
    bad = operator.events / "iOS" / "2016-02-03" / "part-0001.json.gz"  # which the document takes out
    later = bad.rename(tmp_path / bad.name)
    assert re.search(NONE_DIFFERENT, operator.types(*lines_of("First load")))
    first = operator.counts()
    later.rename(bad)
    operator.types("scripts/nightly.sh daily")
    whole = operator.counts()
    assert whole != first

    operator.types(*lines_of("A good night"), *lines_of("Rollback: an older publication put back"))
    assert operator.counts() == first
    operator.types("scripts/nightly.sh daily")
    assert operator.counts() == first
    Path(f"{operator.events}.taken-out", bad.name).rename(bad)
    operator.types(*lines_of("Backup and restore"), "scripts/nightly.sh daily")
    assert operator.counts() == whole

    assert re.search(NONE_DIFFERENT, operator.types(*lines_of("Backup and restore", 1)))
    assert operator.counts() == whole
    operator.types(*lines_of("Backup and restore", 2), *lines_of("Backfill"), *lines_of("Backfill", 1))
    operator.types(*lines_of("The disk is full"))
    operator.types(*lines_of("A dead run and its lock")[:-1])  # the last looks for a process, and there is none
    operator.types(*lines_of("Replay: quarantined input after a fix"))
    assert re.search(NONE_DIFFERENT, operator.types(*lines_of("A number that somebody doubts")))
    operator.types(*lines_of("Where does this number come from?"), *lines_of("Data from the future, and clocks"))
    assert operator.counts() == whole


def test_a_number_is_followed_to_its_records_and_orders_also_where_a_copy_took_over(sample_lake, tmp_path):
    operator = Operator(tmp_path, sample_lake)
    shutil.copytree(sample_lake.lake, operator.lake)
    loaded = operator.events / "iOS" / "2016-02-01" / "part-0000 (1).json"
    shutil.copy(loaded.with_name("part-0001.json.gz"), loaded)  # part-0000.json is a copy of what it held
    operator.types("scripts/nightly.sh daily")
    views, purchases, rejects, _, record = lines_of("Where does this number come from?")
    connection = connect(Lake(str(operator.lake)))

    def ask(line: str) -> list[tuple]:
        return connection.sql(shlex.split(line)[-1].replace("2016-02-02", "2016-02-01")).fetchall()

    found, orders = ask(views), ask(purchases)
    number = "platform = 'iOS' AND date = '2016-02-01' AND product = '20001829_048'"
    counted = connection.sql(f"SELECT sum(views), sum(purchases) FROM ctr_day WHERE {number}").fetchall()
    assert counted == [(sum(view[-1] for view in found), len(orders))]
    assert connection.sql(f"SELECT count(*) FROM views WHERE {number}").fetchall() == [(len(found),)]
    assert len(found) > counted[0][0]  # copies of messages are listed, and not counted
    assert all(order and item for _, order, item, _, _ in orders)
    taken_over = "iOS/2016-02-01/part-0000.json"
    for rows in ([view[3:5] for view in found], [reject[2:4] for reject in ask(rejects)]):
        assert taken_over in {path for path, _ in rows}
        assert "iOS/2016-02-01/part-0000 (1).json" not in {path for path, _ in rows}
    for path in (taken_over, "iOS/2016-02-01/part-0001.json.gz"):
        offset = next(view[4] for view in found if view[3] == path)
        line = record.replace("path=iOS/2016-02-02/part-0001.json.gz; offset=0;", f"path={path}; offset={offset};")
        assert operator.types(line).startswith("{")
