"""Event files of the sample: which files a sample has, and the writing of one of them with an account of its content."""

from __future__ import annotations

import gzip
import io
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jobs.sample.catalog import DAY_MS, PLATFORM_SHARES, Ints, make_catalog
from jobs.sample.events import Block, Span, make_block
from jobs.sample.orders import Orders, follow_views
from jobs.sample.templates import Style, make_style

_BLOCK_MESSAGES = 8192
_SHARED_SHARE = 0.01
"""Share of a file's messages that the next file holds again."""
_LATE_SHARE = 0.03
_FEWEST_FILES = 4
_ORDERS_PART = 1 << 40
"""Parts from here on are the orders that follow a file's blocks."""
_EPOCH = date(1970, 1, 1)
_ROTATION = (("lines", False), ("lines", True), ("array", False), ("lines", False), ("array", True))
"""Layout and gzip of the files of a mixed sample, in turn."""


@dataclass(frozen=True)
class Parameters:
    """Everything that decides what a sample holds; the number of workers does not."""

    start: date
    days: int
    seed: int
    products: int
    messages: int | None
    """Messages a day; else ``bytes``, unpacked bytes of event files a day."""
    bytes: int | None
    file_bytes: int
    layout: str
    gzip: bool
    columns: str
    clean: bool

    def as_json(self) -> dict[str, object]:
        """The parameters as JSON values."""
        return {**asdict(self), "start": self.start.isoformat()}


@dataclass(frozen=True)
class EventFile:
    """One file to write: where, how, which part of which day; what it holds again of the file before it."""

    parameters: Parameters
    path: Path
    platform: str
    day: int
    """Day of the events, counted from the start; a late file lies in the folder of a later day."""
    index: int
    files: int
    """Files of this day and platform."""
    messages: int
    layout: str
    gzip: bool
    late: bool = False
    previous: EventFile | None = None
    copy: Path | None = None
    """Where the same bytes are delivered under another name."""

    @property
    def span(self) -> Span:
        """The part of the day that the file covers."""
        first = ((self.parameters.start - _EPOCH).days + self.day) * DAY_MS
        return Span(first) if self.late else Span(first, self.index / self.files, (self.index + 1) / self.files)

    @property
    def expected_bytes(self) -> int:
        """About how many bytes the file has when unpacked."""
        return round(self.messages * _message_bytes(self.layout))

    def generator(self, part: int) -> np.random.Generator:
        """The random generator of one part of the file: part 0 is what the next file repeats."""
        platform = list(PLATFORM_SHARES).index(self.platform)
        return np.random.default_rng([self.parameters.seed, 2, self.day, platform, self.index, int(self.late), part])


@dataclass
class Account:
    """What a file holds. ``cells`` are (day * products + product) with ``views``, each view counted once."""

    platform: str
    written: int = 0
    """Bytes on the disk, with those of the copy."""
    unpacked: int = 0
    copies: int = 0
    late: int = 0
    messages: int = 0
    duplicate_messages: int = 0
    duplicate_views: int = 0
    events: int = 0
    view_copies: int = 0
    ignored: int = 0
    blank_lines: int = 0
    broken_events: Counter[str] = field(default_factory=Counter)
    broken_records: Counter[str] = field(default_factory=Counter)
    cells: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    views: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    orders: list[Orders] = field(default_factory=list)


def plan_files(parameters: Parameters, folder: Path) -> Iterator[EventFile]:
    """The files of a sample, day by day."""
    previous: dict[str, EventFile] = {}
    for day in range(parameters.days):
        for number, (platform, share) in enumerate(PLATFORM_SHARES.items()):
            for file in _plan_day(parameters, folder, day, platform, share, copied=day % 3 == number):
                before = None if parameters.clean or file.late else previous.get(platform)
                file = replace(file, previous=before)
                if not file.late:
                    previous[platform] = replace(file, previous=None)
                yield file


def _plan_day(
    parameters: Parameters, folder: Path, day: int, platform: str, share: float, *, copied: bool
) -> Iterator[EventFile]:
    messages, files = _day_size(parameters, share)
    day_folder = folder / platform / (parameters.start + timedelta(days=day)).isoformat()
    for index in range(files):
        layout, packed = _layout(parameters, index)
        end = "json.gz" if packed else "json"
        yield EventFile(
            parameters,
            day_folder / f"part-{index:04d}.{end}",
            platform,
            day,
            index,
            files,
            messages=messages * (index + 1) // files - messages * index // files,
            layout=layout,
            gzip=packed,
            copy=day_folder / f"part-{index:04d} (1).{end}" if copied and index == 0 and not parameters.clean else None,
        )
    if day and not parameters.clean:
        age = 2 if day > 1 and platform == "MobileWeb" else 1
        path = day_folder / f"part-{files:04d}-late.json"
        late = max(1, round(messages * _LATE_SHARE))
        yield EventFile(parameters, path, platform, day - age, day, 1, late, "lines", gzip=False, late=True)


def _day_size(parameters: Parameters, share: float) -> tuple[int, int]:
    """Messages and files of one day of a platform."""
    sizes = [_message_bytes(_layout(parameters, index)[0]) for index in range(len(_ROTATION))]
    size = sum(sizes) / len(sizes)
    day = parameters.messages or (parameters.bytes or 0) / size
    messages = max(_FEWEST_FILES, round(day * share))
    return messages, max(_FEWEST_FILES, round(messages * size / parameters.file_bytes))


def _layout(parameters: Parameters, index: int) -> tuple[str, bool]:
    mixed, packed = _ROTATION[index % len(_ROTATION)]
    if parameters.layout == "mixed":
        return mixed, packed or parameters.gzip
    return parameters.layout, parameters.gzip


@cache
def _message_bytes(layout: str) -> float:
    """Mean size of a message, measured on some thousand of them."""
    rng = np.random.default_rng(0)
    block = make_block(rng, make_catalog(0, 10), make_style(layout == "array"), Span(0), 4096, clean=True)
    return len(block.data) / block.messages


def write_file(file: EventFile) -> Account:
    """Writes one file, block by block, and its copy; the account says what it holds."""
    account = Account(file.platform, late=file.messages if file.late else 0)
    style = make_style(file.layout == "array")
    file.path.parent.mkdir(parents=True, exist_ok=True)
    cells: list[Ints] = []
    with _open(file) as target:
        account.unpacked += target.write(style.begin)
        rest = b""
        for owner, again, block in _blocks(file, style):
            account.unpacked += target.write(rest)
            account.unpacked += target.write(block.data[: -len(style.separator)])
            rest = style.separator
            cells.append(_count(file, owner, block, account, again=again))
        account.unpacked += target.write(style.end)
    account.cells, account.views = np.unique(np.concatenate(cells), return_counts=True)
    account.written = file.path.stat().st_size
    if file.copy:
        shutil.copyfile(file.path, file.copy)
        account.copies, account.written = 1, 2 * account.written
    return account


def _blocks(file: EventFile, style: Style) -> Iterator[tuple[EventFile, bool, Block]]:
    """(file the messages belong to, whether they were delivered before, messages): repeated first, own after."""
    if file.previous:
        yield file.previous, True, _shared(file.previous, style)
    shared = 0
    if not file.parameters.clean and not file.late:
        shared = _shared_messages(file)
        yield file, False, _shared(file, style)
    for part, begin in enumerate(range(shared, file.messages, _BLOCK_MESSAGES), 1):
        count = min(_BLOCK_MESSAGES, file.messages - begin)
        span = file.span.part(begin / file.messages, (begin + count) / file.messages)
        yield file, False, _block(file, style, part, span, count)


def _shared_messages(file: EventFile) -> int:
    return min(file.messages, max(2, round(file.messages * _SHARED_SHARE)))


def _shared(file: EventFile, style: Style) -> Block:
    return _block(file, style, 0, file.span, _shared_messages(file))


def _block(file: EventFile, style: Style, part: int, span: Span, count: int) -> Block:
    parameters = file.parameters
    catalog = _catalog(parameters.seed, parameters.products)
    return make_block(file.generator(part), catalog, style, span, count, clean=parameters.clean)


_catalog = cache(make_catalog)


def _count(file: EventFile, owner: EventFile, block: Block, account: Account, *, again: bool) -> Ints:
    """Adds a block to the account; gives the cells of the views that count.

    A message delivered again counts only where it has no id: nothing then shows that it is the same.
    """
    parameters = file.parameters
    counted = ~block.with_id if again else np.ones(len(block.products), np.bool_)
    account.messages += block.messages
    account.duplicate_messages += block.messages_with_id if again else 0
    account.duplicate_views += int((~counted).sum())
    account.events += block.events
    account.view_copies += len(block.products)
    account.ignored += block.ignored
    account.blank_lines += block.blank_lines
    account.broken_events += block.broken_events
    account.broken_records += block.broken_records
    if not again:
        catalog = _catalog(parameters.seed, parameters.products)
        rng = file.generator(_ORDERS_PART + len(account.orders))
        account.orders.append(follow_views(rng, catalog, block.products, block.times))
    return owner.day * parameters.products + block.products[counted]


@contextmanager
def _open(file: EventFile) -> Iterator[BinaryIO | gzip.GzipFile]:
    """The file for writing; a packed one carries neither name nor time, so that equal content has equal bytes."""
    with file.path.open("wb", buffering=io.DEFAULT_BUFFER_SIZE) as target:
        if not file.gzip:
            yield target
            return
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as packed:
            yield packed
