"""``publish --to N``: an older publication put back as a new one, so that readers see its state and later runs go on from it."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jobs.change import changing
from jobs.config import Config
from jobs.discover import list_events
from jobs.errors import JobError, UsageError
from jobs.lake import Lake, existing_lake
from jobs.ledger import LOADED, newest_statements
from jobs.maintain.kept import Row, all_publications, files_of
from jobs.paths import archive_of
from jobs.publish import newest_runs, publish
from jobs.schemas import FILES, PUBLISHED, Table

if TYPE_CHECKING:
    from jobs.arguments import Jobs


def add_parser(jobs: Jobs) -> None:
    """The command line of ``publish``."""
    parser = jobs.add_parser(
        "publish",
        help="put an older publication back as a new one (needs no Spark)",
        description="Puts every table back to what publication N names and publishes that as a new publication. Event files "
        "that were loaded after N are read again by the next daily: take bad ones out of the folder before.",
    )
    parser.add_argument("--to", dest="number", type=int, required=True, metavar="N", help="number of the publication")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, config: Config, console: Console) -> int:
    """Puts a publication back, or says what that would do; 0."""
    lake = existing_lake(config.lake)
    number = arguments.number
    said = preview(lake, config, number) if arguments.dry_run else put_back(config, number, console)
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    return 0


def put_back(config: Config, number: int, console: Console) -> str:
    """Restores every table to what publication ``number`` names and publishes; what was done, for people.

    Raises:
        UsageError: there is no such publication.
        JobError: data of it was deleted by ``maintain``.
    """
    started = datetime.now(timezone.utc)
    with changing(config, "publish", console.print) as change:
        lake = change.lake
        wanted = find_publication(lake, number)
        forgotten = forgotten_files(lake, wanted)
        restored = [table.name for table in PUBLISHED if lake.take_back(table, wanted[f"{table.name}_version"])]
        if not restored:
            return f"nothing to do: the lake is in the state of publication {number}"
        report = {
            "job": "publish",
            "started_at": started.isoformat(),
            "seconds": round((datetime.now(timezone.utc) - started).total_seconds(), 3),
            "to": number,
            "restored": restored,
            "files": {"forgotten": len(forgotten)},
            "awaited": next(run["report"] for run in newest_runs(lake) if run["publication"] == number).get(
                "awaited", {}
            ),
            "warnings": [f"publication {number} was put back"],
        }
        publication = publish(lake, change.number, "publish", report)
    return (
        f"publication {publication} is publication {number} of {wanted['published_at']:%Y-%m-%d %H:%M} UTC again; "
        f"put back: {', '.join(restored)}. {_described(forgotten, config)}"
    )


def preview(lake: Lake, config: Config, number: int) -> str:
    """What ``put_back`` would do, for people; nothing is changed and nothing waits for a run.

    Raises:
        UsageError: there is no such publication.
        JobError: data of it was deleted by ``maintain``.
    """
    wanted = find_publication(lake, number)
    newest = all_publications(lake)[0]
    other = [table.name for table in PUBLISHED if not _same(lake, table, wanted, newest)]
    if not other:
        return f"nothing to do: the lake is in the state of publication {number}"
    return (
        f"would put back publication {number} of {wanted['published_at']:%Y-%m-%d %H:%M} UTC: {', '.join(other)}. "
        f"{_described(forgotten_files(lake, wanted), config)}"
    )


def find_publication(lake: Lake, number: int) -> Row:
    """The publication of this number, all of whose data is there.

    Raises:
        UsageError: there is no such publication.
        JobError: data of it was deleted by ``maintain``.
    """
    publications = all_publications(lake)
    found = next((row for row in publications if row["publication"] == number), None)
    if found is None:
        there = f"there are 1 to {publications[0]['publication']}" if publications else "nothing is published yet"
        raise UsageError(f"no publication {number} in the lake {lake.root}: {there}")
    gone = [table.name for table in PUBLISHED if not _is_there(lake, table, found[f"{table.name}_version"])]
    if gone:
        raise JobError(
            f"publication {number} cannot be put back: maintain has deleted data of it ({', '.join(gone)}); it keeps the "
            "publications of the last keep_days and the newest keep_publications: name a newer one"
        )
    return found


def forgotten_files(lake: Lake, wanted: Row) -> list[dict[str, Any]]:
    """Event files, as ``path`` and ``size``, that are loaded now and are not in the ledger of the publication."""
    before = {row["file_id"] for row in _loaded(lake, wanted[f"{FILES.name}_version"])}
    now = _loaded(lake, all_publications(lake)[0][f"{FILES.name}_version"])
    return [row for row in now if row["file_id"] not in before]


def _loaded(lake: Lake, version: int) -> list[dict[str, Any]]:
    columns = ["file_id", "path", "size", "state", "batch", "recorded_at"]
    rows = newest_statements(lake.read(FILES, columns, version))
    return [row for row in rows.to_pylist() if row["state"] == LOADED]


def _is_there(lake: Lake, table: Table, version: int) -> bool:
    files = files_of(lake, table, version)
    return files is not None and all((Path(lake.uri(table)) / file).exists() for file in files)


def _same(lake: Lake, table: Table, first: Row, second: Row) -> bool:
    """Whether both publications name the same content of a table."""
    versions = {row[f"{table.name}_version"] for row in (first, second)}
    return len(versions) == 1 or len({frozenset(files_of(lake, table, version) or ()) for version in versions}) == 1


def _described(forgotten: list[dict[str, Any]], config: Config) -> str:
    if not forgotten:
        return "No event file was loaded since."
    size = sum(row["size"] for row in forgotten) / 1e6
    text = (
        f"{len(forgotten):,} event files ({size:,.1f} MB) were loaded since: the next daily reads them again, unless they "
        "are taken out of the folder before"
    )
    try:
        listed = {file.path for file in list_events(config.events, (), 0).files}
    except JobError as error:
        return f"{text}. Whether they still are there is not known: {error}"
    away = [row["path"] for row in forgotten if archive_of(row["path"]) not in listed]
    return f"{text}; {len(away):,} of them are not there any more, and their rows with them" if away else f"{text}."
