"""The publications that are open and who reads them: one that is lent no longer is closed when its last lease ends."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from serving.replica.segments import Segment
from serving.state.publications import Publication
from serving.state.snapshot import Snapshot


@dataclass(eq=False)
class Opened:
    """An open publication and the number of leases on it."""

    snapshot: Snapshot
    leases: int = 0
    retired: bool = False
    """Whether it is lent no longer."""


class Lending:
    """The publication that is served, and older ones that were asked for. Threads may share it."""

    def __init__(self, most_older: int, close: Callable[[Snapshot], None]) -> None:
        """Nothing is open yet; ``close`` is called with each publication that nobody reads any more."""
        self._most_older = most_older
        self._close = close
        self._lock = threading.Lock()
        self.current: Opened | None = None
        """The publication that is served."""
        self._older: OrderedDict[int, Opened] = OrderedDict()

    @property
    def older(self) -> list[int]:
        """The numbers of the older ones, the one that was asked for last at the end."""
        return list(self._older)

    def lend(self, number: int | None) -> Opened | None:
        """One lease more on the publication that is served, if it is of that number or none is asked for."""
        with self._lock:
            current = self.current
            if current is None or number not in (None, current.snapshot.version):
                return None
            current.leases += 1
            return current

    def lend_older(self, publication: Publication) -> Opened | None:
        """One lease more on an older one, if it is open."""
        with self._lock:
            opened = self._older.get(publication.number)
            if opened is None or opened.snapshot.publication != publication:
                return None
            self._older.move_to_end(publication.number)
            opened.leases += 1
            return opened

    def snapshot(self, number: int | None) -> Snapshot | None:
        """The one of that number as it is open now, or the one that is served; ``None`` where there is no such."""
        with self._lock:
            current = self.current
            if current is not None and number in (None, current.snapshot.version):
                return current.snapshot
            older = self._older.get(number) if number is not None else None
            return older.snapshot if older is not None else None

    def take_back(self, opened: Opened) -> None:
        """End one lease."""
        with self._lock:
            opened.leases -= 1
            unused = opened.retired and opened.leases == 0
        if unused:
            self._close(opened.snapshot)

    def serve(self, opened: Opened) -> None:
        """Lend this one from now on, instead of the one that is served."""
        with self._lock:
            old, self.current = self.current, opened
        if old is not None:
            self._retire(old)

    def keep(self, opened: Opened) -> None:
        """Keep an older one open; of more than may be, the one that was asked for longest ago is retired."""
        number = opened.snapshot.version
        with self._lock:
            replaced = self._older.pop(number, None)
            self._older[number] = opened
            retired = [replaced] if replaced else []
            while len(self._older) > self._most_older:
                retired.append(self._older.popitem(last=False)[1])
        for one in retired:
            self._retire(one)

    def add_segments(self, opened: Opened, found: Collection[Segment]) -> None:
        """From the next lease on these segments are read, too."""
        with self._lock:
            opened.snapshot = dataclasses.replace(opened.snapshot, held=opened.snapshot.held.union(found))

    def drop_segments(self, found: frozenset[Segment]) -> list[Segment]:
        """From the next lease on none of these is read; each as often as a publication held it."""
        dropped: list[Segment] = []
        with self._lock:
            for opened in (self.current, *self._older.values()):
                if opened is not None and not found.isdisjoint(opened.snapshot.held):
                    dropped += found & opened.snapshot.held
                    opened.snapshot = dataclasses.replace(opened.snapshot, held=opened.snapshot.held - found)
        return dropped

    def _retire(self, opened: Opened) -> None:
        with self._lock:
            opened.retired = True
            unused = opened.leases == 0
        if unused:
            self._close(opened.snapshot)
