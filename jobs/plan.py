"""What a run reads: the listed files less those that the ledger knows, copies set aside, cut into batches, newest day first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatch

from jobs.config import Config
from jobs.copies import Watch, set_copies_aside, unwatched
from jobs.discover import EventFile, Listing, is_archive, list_events, list_members
from jobs.errors import UnreadableFile
from jobs.ledger import Ledger, Statement
from jobs.paths import archive_of, written_member
from jobs.source import Source


@dataclass(frozen=True)
class Selection:
    """Which files a run is about; the default is all of them. ``first`` and ``last`` are days, both included."""

    first: date | None = None
    last: date | None = None
    path: str | None = None

    def takes(self, file: EventFile) -> bool:
        """Whether the file's day and path, or its archive's path, are among those asked for."""
        if self.path is not None and not (fnmatch(file.path, self.path) or fnmatch(archive_of(file.path), self.path)):
            return False
        return (self.first is None or file.day >= self.first) and (self.last is None or file.day <= self.last)

    def may_take_members(self, archive: EventFile) -> bool:
        """Whether members can be among those asked for, whatever their names: a pattern says so up to its first wildcard."""
        begin = re.split(r"[*?\[]", self.path or "*")[0]
        members = written_member(archive.path, "")
        return members.startswith(begin) or begin.startswith(members)


@dataclass
class Batch:
    """One batch: read, written and published as a whole. All lists may be empty."""

    files: list[EventFile] = field(default_factory=list)
    duplicates: list[tuple[EventFile, str]] = field(default_factory=list)
    """Copies, each with the ``file_id`` of the file whose content it has."""
    unknown: list[EventFile] = field(default_factory=list)
    archives: list[EventFile] = field(default_factory=list)
    failed: list[tuple[EventFile, str]] = field(default_factory=list)
    """Files that could not even be looked into, each with the reason."""
    given_up: list[Statement] = field(default_factory=list)
    """Files that could not be read before, and are not there any more."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do or to record."""
        return not any((self.files, self.duplicates, self.unknown, self.archives, self.failed, self.given_up))

    @property
    def bytes(self) -> int:
        """Bytes of the files to read, as they lie on disk (members of archives: unpacked)."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Plan:
    """What stands under the root, and the run's work in order."""

    listing: Listing
    batches: list[Batch]
    removed: list[str]
    """Paths of loaded files that are not at the source any more; their rows stay. Members of archives: of those looked into."""
    waiting: list[EventFile]
    """Event files that are in no table: those of the batches, and those that were not asked for or cannot be read."""
    source_is_empty: bool
    """Whether nothing at all stands under the root, not even a file set apart."""

    @property
    def batch(self) -> Batch:
        """The first of the batches; an empty one where there is nothing to do."""
        return self.batches[0] if self.batches else Batch()


Checksums = dict[str, str]
"""By ``file_id`` what was computed before. Plans add to it, but for a file that could not be read: it may be readable later."""


def make_plan(
    config: Config,
    ledger: Ledger,
    selection: Selection,
    checksums: Checksums | None = None,
    watch: Watch = unwatched,
) -> Plan:
    """Lists the root and plans what of it has to be read; a run that plans again hands its ``checksums`` on.

    ``watch`` shows how far the search for copies is.

    Raises:
        JobError: the root is missing or cannot be read.
    """
    listing = list_events(config.events, config.unfinished_names, config.young_seconds)
    known = {} if checksums is None else checksums
    return plan_listing(config.events, listing, ledger, selection, config.batch_bytes, known, watch)


def plan_listing(
    root: str,
    listing: Listing,
    ledger: Ledger,
    selection: Selection,
    batch_bytes: int,
    checksums: Checksums,
    watch: Watch = unwatched,
) -> Plan:
    """The run's work in order; the first batch also holds what needs no reading. No work: no batch."""
    first, source = Batch(), Source(listing, ledger)
    new = [file for file in listing.files if not ledger.is_done(file) and _has_to_be_opened(root, file, selection)]
    readable = _look_into(root, new, source, selection, first)
    wanted, first.duplicates = set_copies_aside(root, readable, listing, ledger, checksums, watch)
    batches = _cut(wanted, batch_bytes, first)
    first.given_up = source.given_up()
    return Plan(
        listing, [batch for batch in batches if not batch.empty], source.removed(), source.waiting(), source.is_empty
    )


def _has_to_be_opened(root: str, file: EventFile, selection: Selection) -> bool:
    return selection.takes(file) or (selection.may_take_members(file) and is_archive(root, file))


def _look_into(root: str, new: list[EventFile], source: Source, selection: Selection, batch: Batch) -> list[EventFile]:
    """Files of a platform, members of archives among them; the others go to the batch's lists.

    An archive with members that were not asked for is not recorded as seen: a later run looks into it again.
    """
    readable: list[EventFile] = []
    for file in new:
        if not is_archive(root, file):
            source.looked_into(file, [file])
            (readable if file.platform else batch.unknown).append(file)
            continue
        try:
            listed = list_members(root, file)
        except UnreadableFile as error:
            batch.failed.append((file, str(error)))
            continue
        source.looked_into(file, listed)
        members = [member for member in listed if not source.ledger.is_done(member)]
        wanted = [member for member in members if selection.takes(member)]
        if len(wanted) == len(members):
            batch.archives.append(file)
        readable += [member for member in wanted if member.platform]
        batch.unknown += [member for member in wanted if not member.platform]
    return readable


def _cut(files: Iterable[EventFile], batch_bytes: int, first: Batch) -> list[Batch]:
    """Batches of at most ``batch_bytes`` (a larger file stands alone), newest day first."""
    batches = [first]
    filled = 0
    for file in sorted(sorted(files, key=lambda file: file.path), key=lambda file: file.day, reverse=True):
        if filled and filled + file.size > batch_bytes:
            batches.append(Batch())
            filled = 0
        batches[-1].files.append(file)
        filled += file.size
    _copies_with_originals(batches)
    _archives_last(batches)
    return batches


def _archives_last(batches: list[Batch]) -> None:
    """An archive counts as seen in the batch that records the last of its members, as read or as a copy, and not before."""
    archives, batches[0].archives = batches[0].archives, []
    last: dict[str, Batch] = {}
    for batch in batches:
        for file in [*batch.files, *(copy for copy, _ in batch.duplicates)]:
            last[archive_of(file.path)] = batch
    for archive in archives:
        last.get(archive.path, batches[0]).archives.append(archive)


def _copies_with_originals(batches: list[Batch]) -> None:
    """A copy counts as seen in the batch that reads its original, not before."""
    copies, batches[0].duplicates = batches[0].duplicates, []
    holders = {file.file_id: batch for batch in batches for file in batch.files}
    for file, original in copies:
        holders.get(original, batches[0]).duplicates.append((file, original))
