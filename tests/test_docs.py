"""docs/quarantine.md names every reason, docs/lake.md every table and column rule that code can prove."""

from __future__ import annotations

import re

from jobs.decoding.records import Reason
from jobs.inventory import lake_status
from jobs.lake import Lake
from jobs.ledger import STATES
from jobs.publish import publish
from jobs.purchases import REASONS
from jobs.schemas import FILES, TABLES
from tests.conftest import ROOT


def reasons_table() -> str:
    """The table of docs/quarantine.md: ``scripts/python.sh -m tests.test_docs`` prints it."""
    lines = ["| reason | source | meaning |", "|---|---|---|"]
    lines += [f"| `{reason.value}` | events | {reason.text} |" for reason in Reason]
    lines += [f"| `{reason}` | purchases | {text} |" for reason, text in REASONS.items()]
    return "\n".join(lines) + "\n"


COLUMNS = {
    "file_id": "key of the file: path, size, and time of change or the checksum that a ZIP states",
    "path": "below the root, as the rules above write it",
    "platform": "the first folder's; null: none of the platforms",
    "size": "bytes on disk; of a member of a ZIP unpacked",
    "modified": "time of the last change; of a member that of its ZIP",
    "etag": "checksum that a ZIP states of its member",
    "checksum": "XXH3 of the content; null: not read",
    "batch": "number of the run that says this",
    "state": "one of those above",
    "detail": "why it failed",
    "duplicate_of": "`file_id` of the file whose content it has",
    "layout": "what the first bytes told: compression and kind of records, which `audit` reads it by",
    "bytes, lines": "unpacked size; line breaks",
    "records, decoded, quarantined_records, blank": "`records = decoded + quarantined_records + blank`",
    "events, views, ignored, quarantined_events": "`events = views + ignored + quarantined_events`",
    "first_time, last_time": "of its views",
    "recorded_at": "when this was said",
}


def files_tables() -> str:
    """The tables about ``files`` of docs/lake.md: ``scripts/python.sh -m tests.test_docs`` prints them."""
    lines = ["| `state` | meaning |", "|---|---|", *(f"| `{state}` | {text} |" for state, text in STATES.items()), ""]
    lines += ["| column | meaning |", "|---|---|"]
    lines += [f"| `{'`, `'.join(names.split(', '))}` | {text} |" for names, text in COLUMNS.items()]
    return "\n".join(lines) + "\n"


def test_every_state_and_column_of_files_is_documented():
    assert [name for names in COLUMNS for name in names.split(", ")] == list(FILES.columns)
    assert files_tables() in (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")


def test_every_key_of_the_status_is_documented(tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()
    publish(lake, 1, "daily", {})
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8").partition("## What `status --json` holds")[2]
    documented = {name for line in text.splitlines() for name in re.findall(r"`(\w+)`", line.partition(" | ")[0])}
    assert documented >= set(lake_status(str(tmp_path)))


def test_every_reason_of_quarantine_is_documented():
    assert reasons_table() in (ROOT / "docs" / "quarantine.md").read_text(encoding="utf-8")


def test_every_table_is_documented():
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    for table in TABLES:
        assert f"`{table.name}`" in text


if __name__ == "__main__":
    print(reasons_table(), files_tables(), sep="\n", end="")
