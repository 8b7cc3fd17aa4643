"""docs/quarantine.md names every reason, docs/lake.md every table and column rule that code can prove."""

from __future__ import annotations

import re

import pytest

from jobs.decoding.records import Reason
from jobs.inventory import lake_status
from jobs.lake import Lake
from jobs.ledger import STATES
from jobs.publish import publish
from jobs.purchases import REASONS
from jobs.schemas import FILES, PUBLISHED, TABLES
from tests.conftest import ROOT


def reasons_table() -> str:
    """The table of docs/quarantine.md: ``scripts/python.sh -m tests.test_docs`` prints it."""
    lines = ["| reason | source | meaning |", "|---|---|---|"]
    lines += [f"| `{reason.value}` | events | {reason.text} |" for reason in Reason]
    lines += [f"| `{reason}` | purchases | {text} |" for reason, text in REASONS.items()]
    return "\n".join(lines) + "\n"


FILES_COLUMNS = {
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

_DAY = {
    "date": "UTC day of `time`",
    "platform": "`Android`, `iOS` or `MobileWeb`",
    "product": "`codeColor` of the view, `code_color` of the order item",
}
_COUNTS = {
    **_DAY,
    "time": "start of the minute, hour or UTC day",
    "views, purchases": "how many of each; one of them is above 0",
}
COLUMNS = {
    "views": {
        **_DAY,
        "time": "when the product was viewed",
        "message_id": "the message's; a long one as its SHA-256; null: it has none",
        "position": "place of the view in the message's `events`, from 0",
        "file_id": "the event file, in `files`",
        "offset": "byte of the unpacked file at which the record begins",
    },
    "purchases": {
        **_DAY,
        "time": "`order_date` of the order, read in `orders_timezone`",
        "order_id, item_id": "the database's keys, as text",
        "device": "the order's, as the database spells it",
        "status": "the order's, likewise",
    },
    "quarantine": {
        "date": "UTC day of the run",
        "platform": "of the event file or of the order; `none` where there is no order",
        "source": "`events` or `purchases`",
        "reason": "one of [those listed](quarantine.md#reasons)",
        "detail": "what was found, or which order and item; nothing of a person",
        "file_id, offset": "the event file, and the byte at which the record begins in it unpacked; null for order items",
        "position": "place of the event in its message's `events`, from 0; null: the record as a whole",
        "raw": "the bytes, 64 kB at most",
        "raw_bytes": "how many there were",
        "batch": "number of the run",
    },
    "ctr_minute": _COUNTS,
    "ctr_hour": _COUNTS,
    "ctr_day": _COUNTS,
    "coverage": {
        "date, platform": "the UTC day and the platform",
        "views, purchases": "how many of each, each view once",
        "first_view, last_view": "times of its first and last view; null: it has none",
        "first_purchase, last_purchase": "likewise of its purchases",
    },
    "publications": {
        "publication": "its number, from 1",
        "published_at": "when this was said",
        "batch": "number of the run: the same",
        "job": "`daily`, `backfill`, `replay`, `maintain` or `publish`",
        ", ".join(f"{table.name}_version" for table in PUBLISHED): "the version of each table that belongs to it",
        "report": "what the run did, as JSON: the rules above",
    },
}
"""By table what its columns hold, those of ``files`` apart."""


def files_tables() -> str:
    """The tables about ``files`` of docs/lake.md: ``scripts/python.sh -m tests.test_docs`` prints them."""
    lines = ["| `state` | meaning |", "|---|---|", *(f"| `{state}` | {text} |" for state, text in STATES.items()), ""]
    return "\n".join([*lines, *_columns_table(FILES_COLUMNS)]) + "\n"


def columns_tables() -> str:
    """Those about the other tables, likewise; tables of the same columns together."""
    lines: list[str] = []
    for columns in {id(columns): columns for columns in COLUMNS.values()}.values():
        names = [name for name, found in COLUMNS.items() if found is columns]
        lines += [f"### `{'`, `'.join(names)}`", "", *_columns_table(columns), ""]
    return "\n".join(lines)


def _columns_table(columns: dict[str, str]) -> list[str]:
    return [
        "| column | meaning |",
        "|---|---|",
        *(f"| `{'`, `'.join(names.split(', '))}` | {text} |" for names, text in columns.items()),
    ]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_documented(table):
    documented = {**COLUMNS, FILES.name: FILES_COLUMNS}[table.name]
    assert [name for names in documented for name in names.split(", ")] == table.columns


def test_the_tables_of_columns_and_states_stand_in_the_document():
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    assert files_tables() in text
    assert columns_tables() in text


def test_every_key_of_the_status_is_documented(tmp_path):
    lake = Lake(str(tmp_path))
    lake.create()
    publish(lake, 1, "daily", {})
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8").partition("## What `status --json` holds")[2]
    documented = {name for line in text.splitlines() for name in re.findall(r"`(\w+)`", line.partition(" | ")[0])}
    assert documented >= set(lake_status(str(tmp_path)))


def test_every_reason_of_quarantine_is_documented():
    assert reasons_table() in (ROOT / "docs" / "quarantine.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(reasons_table(), files_tables(), columns_tables(), sep="\n", end="")
