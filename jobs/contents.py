"""Which contents stay in the tables: each that a path held last, once. What a path held before goes when the path holds another.

So neither the order in which files come nor which of two copies was loaded changes a count. The rows of a content carry the
``file_id`` of the file that was loaded; when that file is changed and a copy of it is not, its statement in the ledger passes
to the copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.discover import EventFile
from jobs.events import Read
from jobs.lake import Lake
from jobs.ledger import DUPLICATE, Ledger, Statement, newest_statements
from jobs.schemas import FILES

_IDENTITY = ("path", "size", "modified", "etag")
"""Columns of ``files`` by which a file is found again at the source."""


@dataclass
class Displaced:
    """What becomes of loaded contents whose paths hold something else now."""

    gone: list[Statement] = field(default_factory=list)
    """They lose their rows: no path held them last, or they were read again."""
    handed: dict[str, tuple[Statement, EventFile | Statement]] = field(default_factory=dict)
    """By ``file_id`` those that keep them, and stand in the ledger as this file from now on."""
    renewed: dict[str, str] = field(default_factory=dict)
    """By the ``file_id`` of contents that were read again, the one that their rows carry now."""
    copies: list[tuple[Statement, str]] = field(default_factory=list)
    """Files whose content was read again elsewhere, each with the ``file_id`` that its rows carry now."""


def displace(
    files: Iterable[EventFile], duplicates: Iterable[tuple[EventFile, str]], ledger: Ledger, read: Read
) -> Displaced:
    """What becomes of contents when these files, which were read, and these copies are recorded.

    A path of which the new content could not be read holds what it held.
    """
    result, unread = Displaced(), read.unread
    came: dict[str, list[EventFile]] = defaultdict(list)
    now: dict[str, str] = {}
    for file, content in [*((file, file.file_id) for file in files), *duplicates]:
        if content not in unread:
            came[content].append(file)
            now[file.path] = content
    left = {held for path, content in now.items() if (held := ledger.content_at(path)) and held != content}
    for file in files:
        same = ledger.contents.get((file.platform, file.size), {}).get(read.files[file.file_id].checksum or "")
        if same is not None and file.file_id not in unread:
            result.renewed[same] = file.file_id
    for content in sorted({*left, *result.renewed}):
        known = ledger.statements[content]
        others = [one for one in ledger.holders[content] if one.path not in now]
        heirs: list[EventFile | Statement] = [*others, *came[content]]
        if content in result.renewed:
            result.gone.append(known)
            result.copies += [(one, result.renewed[content]) for one in others]
        elif not heirs:
            result.gone.append(known)
        elif now.get(known.path, content) != content:
            result.handed[content] = (known, min(heirs, key=lambda heir: heir.path))
    for file, content in duplicates:
        if file.file_id == content and content not in result.renewed:  # it was changed, and is now as it was before
            result.handed[content] = (ledger.statements[content], file)
    return result


def handed_over(lake: Lake, displaced: Displaced, batch: int) -> list[dict[str, Any]]:
    """Rows of the ledger: statements that pass to other files, with all their counts, and files that became copies of others."""
    if not (displaced.handed or displaced.copies):
        return []
    files = [one for pair in displaced.handed.values() for one in pair] + [one for one, _ in displaced.copies]
    wanted = pa.array({one.file_id for one in files}, pa.string())
    rows = lake.read(FILES)
    rows = newest_statements(rows.filter(pc.is_in(rows["file_id"], value_set=wanted)))
    known = {row["file_id"]: row for row in rows.to_pylist()}
    now = datetime.now(timezone.utc)
    passed = []
    for file_id, (_, heir) in displaced.handed.items():
        identity = (
            {name: getattr(heir, name) for name in _IDENTITY} if isinstance(heir, EventFile) else _identity(known, heir)
        )
        # ``recorded_at`` stays: it tells in which partitions of the quarantine the rows of a file lie (``Statement.days``).
        passed.append({**known[file_id], **identity, "batch": batch})
    for file, original in displaced.copies:
        about = {name: known[file.file_id][name] for name in ("file_id", "platform")} | _identity(known, file)
        said = {"batch": batch, "state": DUPLICATE, "duplicate_of": original, "recorded_at": now}
        passed.append({**about, **said})
    return passed


def _identity(rows: dict[str, dict[str, Any]], known: Statement) -> dict[str, Any]:
    return {name: rows[known.file_id][name] for name in _IDENTITY}
