"""Rejected order items against the quarantine: a reject is kept once, and leaves when its item is good now or gone.

Two rejects are the same when their raw text and their reason are. All of it is done in the driver, a row group after the other;
what is held in memory are 16 bytes a reject.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from jobs.compare import ORDER_MISSING
from jobs.datafiles import DataFile
from jobs.lake import Lake
from jobs.quarantine import files_with, rewrite, row_groups
from jobs.schemas import PURCHASES, QUARANTINE


@dataclass
class Settled:
    """What to change in ``quarantine``."""

    new: list[DataFile] = field(default_factory=list)
    """To add: rejects that it does not hold."""
    removes: list[DataFile] = field(default_factory=list)
    """To remove: they hold rejects of items that are not rejected any more."""
    rest: list[DataFile] = field(default_factory=list)
    """To add: what is left of those."""

    def __bool__(self) -> bool:
        return bool(self.new or self.removes)


def settle(lake: Lake, rejects: list[DataFile], first: date | None, arrived: pa.Array) -> Settled:
    """Compares data files with all rejects of a run, which are deleted where they are not needed, with the quarantine.

    ``first``: of orders before this local day nothing was read, so rejects of such orders stay, and those without an order; but not
    where the item's id is among those of purchases that ``arrived``.
    """
    result = Settled()
    current = {key for file in rejects for _, key, *_ in _rows(lake, file)}
    known: set[bytes] = set()
    for file in files_with(lake, PURCHASES.name):
        gone = set()
        waiting: dict[int, str | None] = {}
        for number, key, reason, raw in _rows(lake, file):
            if key in current:
                known.add(key)
            elif first and reason == ORDER_MISSING:
                waiting[number] = json.loads(raw).get("item_id")
            elif _was_read(raw, first):
                gone.add(number)
        came = pc.is_in(pa.array(waiting.values(), pa.string()), value_set=arrived)
        gone |= {number for number, there in zip(waiting, came.to_pylist(), strict=True) if there}
        if gone:
            result.removes.append(file)
            result.rest += rewrite(lake, file, gone, {})
    for file in rejects:
        again = {number for number, key, *_ in _rows(lake, file) if key in known}
        if not again:
            result.new.append(file)
            continue
        result.new += rewrite(lake, file, again, {})
        Path(lake.uri(QUARANTINE), file.path).unlink(missing_ok=True)
    return result


def _rows(lake: Lake, file: DataFile) -> Iterator[tuple[int, bytes, str, bytes]]:
    """The order items in a data file: number of the row, what it is known by, reason, raw text."""
    for first, rows in row_groups(lake, file, ["source", "raw", "reason"]):
        columns = [rows[name].to_pylist() for name in rows.column_names]
        for number, (source, raw, reason) in enumerate(zip(*columns, strict=True), start=first):
            if source == PURCHASES.name:
                yield number, xxhash.xxh3_128_digest(reason.encode() + b"\0" + raw), reason, raw


def _was_read(raw: bytes, first: date | None) -> bool:
    day = json.loads(raw).get("order_date") if first else None
    return first is None or day is None or day >= str(first - timedelta(days=1))
