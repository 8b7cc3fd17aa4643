"""What of the files that the ledger knows stands at the source, as far as a plan has looked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jobs.discover import EventFile, Listing
from jobs.ledger import ARCHIVE, FAILED, LOADED, PLANNED, Ledger, Statement
from jobs.paths import archive_of


@dataclass
class Source:
    """The listed files, and what stands in those that were looked into."""

    listing: Listing
    ledger: Ledger
    _inside: dict[str, dict[str, EventFile]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._files = {file.path: file for file in self.listing.files}
        self._unfinished = set(self.listing.unfinished)
        self._closed = tuple(path for path in self._files if path.endswith("/"))

    def looked_into(self, file: EventFile, holds: Iterable[EventFile]) -> None:
        """A listed file holds these: an archive its members, any other file itself."""
        self._inside[file.path] = {held.path: held for held in holds}

    def waiting(self) -> list[EventFile]:
        """Event files, of archives that were looked into their members, that have to be read, by whichever run."""
        listed = (held for file in self.listing.files for held in self._inside.get(file.path, {"": file}).values())
        return [file for file in listed if file.platform and not self.ledger.is_settled(file)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all stands there, not even a file set apart."""
        return not (self._files or self._unfinished)

    def removed(self) -> list[str]:
        """Paths of loaded files that are not there any more, whatever they would hold; in order. Copies of them never had rows."""
        return sorted(known.path for known in self.ledger.held() if known.state == LOADED and not self._has(known))

    def given_up(self) -> list[Statement]:
        """Files that no run could read, or that a dead run was about to, and that are not there any more as they were.

        What this run itself could not read stays as it said.
        """
        if self.is_empty:  # most likely not mounted
            return []
        open_ones = (known for known in self.ledger.statements.values() if known.state in (FAILED, PLANNED))
        mine = self.ledger.tried_paths
        return [known for known in open_ones if known.path not in mine and not self._has_unchanged(known)]

    def _has(self, known: Statement) -> bool:
        top = archive_of(known.path)
        if top in self._unfinished or top.startswith(self._closed):  # in a folder that cannot be listed it may be
            return True
        if top not in self._files:
            return False
        if top in self._inside:
            return known.path in self._inside[top]
        said = self.ledger.statements.get(self._files[top].file_id)
        if said is None or said.state in (FAILED, PLANNED):  # nobody has looked into it
            return True
        return (known.path != top) == (said.state == ARCHIVE)

    def _has_unchanged(self, known: Statement) -> bool:
        top = archive_of(known.path)
        if top in self._inside:
            held = self._inside[top].get(known.path)
            return held is not None and held.file_id == known.file_id
        if top in self._files and known.path == top:
            return self._files[top].file_id == known.file_id
        return self._has(known)
