"""Rows of the two CSV files, read one by one and checked; a row that does not fit is named by its file and line."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jobs.errors import JobError, UsageError

Value = str | int | Decimal | datetime | None

_FIELD_BYTES = 16 << 20
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,14}(\.[0-9]*)?", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_NULLS = ("", "NULL", r"\N")
_CENTS = Decimal("0.0001")
"""Amounts are kept to this; more digits are rounded, so that a second load finds what the first stored."""


class Kind(Enum):
    """What a column holds. A key and a moment are always there; numbers may be missing."""

    KEY = "a whole number of at most 64 bits"
    MOMENT = "a date-time such as 2016-02-01 13:55:00, without a zone"
    AMOUNT = "a number such as 189.90"
    COUNT = "a whole number"
    TEXT = "text without a NUL character"


@dataclass(frozen=True)
class Shape:
    """What a file must have: for each wanted column its kind and the names it may go by; the kinds of others by name."""

    table: str
    wanted: dict[str, tuple[Kind, tuple[str, ...]]]
    others: dict[str, Kind]
    key: str = "id"
    """Which of the wanted columns is the primary key."""


class Row(NamedTuple):
    """One row: the line it begins on, and its values in the order of the columns."""

    line: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose header fits its shape."""

    path: Path
    shape: Shape
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    delimiter: str
    names: dict[str, str]
    """The real name of each wanted column."""

    @property
    def key(self) -> int:
        """Where in a row the primary key stands."""
        return self.columns.index(self.names[self.shape.key])

    def rows(self) -> Iterator[Row]:
        """The rows, checked; blank lines are passed over.

        Raises:
            JobError: a row does not fit, or the file cannot be read; the text has file and line.
        """
        parsers = [_PARSERS[kind] for kind in self.kinds]
        for line, fields in _records(self.path, self.delimiter):
            if line == 1 or not fields:
                continue
            if len(fields) != len(self.columns):
                raise JobError(f"{self.path}, line {line}: found {len(fields)} fields, wanted {len(self.columns)}")
            try:
                values = tuple(parse(text) for parse, text in zip(parsers, fields, strict=True))
            except ValueError:
                raise JobError(self._misfit(line, fields)) from None
            yield Row(line, values)

    def check(self) -> int:
        """Reads the whole file once and gives its number of rows; keeps 8 bytes a row.

        Raises:
            JobError: a row does not fit, or two rows have one key.
        """
        place = self.key
        keys = array("q")
        for row in self.rows():
            value = row.values[place]
            assert isinstance(value, int)
            keys.append(value)
        ordered = np.sort(np.frombuffer(keys, np.int64)) if keys else np.empty(0, np.int64)
        doubled = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(doubled):
            raise JobError(self._doubled(int(doubled[0])))
        return len(keys)

    def _misfit(self, line: int, fields: list[str]) -> str:
        for name, kind, text in zip(self.columns, self.kinds, fields, strict=True):
            try:
                _PARSERS[kind](text)
            except ValueError:
                return f"{self.path}, line {line}: {name} is {_short(text)}, wanted {kind.value}; correct the row"
        raise AssertionError("a row was refused and every field of it fits")

    def _doubled(self, key: int) -> str:
        lines = [row.line for row in self.rows() if row.values[self.key] == key]
        return (
            f"{self.path}, line {lines[1]}: {self.columns[self.key]} {key} stands on line {lines[0]} already; "
            "wanted one row for each: remove one"
        )


def open_csv(path: Path, shape: Shape) -> CsvFile:
    """The file, its delimiter (comma or semicolon) found and its header held against its shape.

    Raises:
        UsageError: there is no such file.
        JobError: it cannot be read, or a column is missing or doubled.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}; wanted the CSV file of the table {shape.table}")
    header, delimiter = _header(path)
    columns = tuple(name.strip() for name in header)
    lower = [name.lower() for name in columns]
    doubled = sorted({name for name in columns if lower.count(name.lower()) > 1})
    if doubled or "" in columns:
        raise JobError(f"{path}, line 1: column {_short(doubled[0] if doubled else '')} is empty or there twice")
    names = {}
    for wanted, (_, possible) in shape.wanted.items():
        found = [columns[lower.index(name.lower())] for name in possible if name.lower() in lower]
        if not found:
            raise JobError(
                f"{path}, line 1: no column {' or '.join(possible)}; found {', '.join(columns)}; "
                "correct the header, or name your column under [columns] in conf/ctr.toml"
            )
        names[wanted] = found[0]
    kinds = {names[wanted]: kind for wanted, (kind, _) in shape.wanted.items()}
    return CsvFile(
        path=path,
        shape=shape,
        columns=columns,
        kinds=tuple(kinds.get(name) or shape.others.get(name.lower(), Kind.TEXT) for name in columns),
        delimiter=delimiter,
        names=names,
    )


def _header(path: Path) -> tuple[list[str], str]:
    """The fields of the first line, split by the delimiter that gives more of them."""
    found: dict[str, list[str]] = {}
    for delimiter in (",", ";"):
        records = _records(path, delimiter, strict=False)  # a quoted header breaks the rules of the other delimiter
        found[delimiter] = next(records, (1, []))[1]
        records.close()
    delimiter = max(found, key=lambda mark: len(found[mark]))
    if not any(found[delimiter]):
        raise JobError(f"{path} is empty or begins with a blank line; wanted a header with the names of the columns")
    return found[delimiter], delimiter


def _records(path: Path, delimiter: str, *, strict: bool = True) -> Generator[tuple[int, list[str]], None, None]:
    """(line on which it begins, fields) of each record; UTF-8, with or without a byte order mark."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            csv.field_size_limit(_FIELD_BYTES)
            reader = csv.reader(file, delimiter=delimiter, strict=strict)
            for fields in reader:
                yield line, fields
                line = reader.line_num + 1
    except csv.Error as error:
        raise JobError(f"{path}, line {line}: {error}; wanted fields in double quotes, or plain ones") from None
    except UnicodeDecodeError as error:
        raise JobError(f"{path}, line {line} or after: no UTF-8 ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}") from None


def _key(text: str) -> int:
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError(text)
    value = int(text)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(text)
    return value


def _moment(text: str) -> datetime:
    if not _MOMENT.fullmatch(text.strip()):
        raise ValueError(text)
    text = text.strip().replace("T", " ")
    whole, point, fraction = text.partition(".")
    return datetime.fromisoformat(whole + point + fraction.ljust(6, "0") if point else whole)


def _amount(text: str) -> Decimal | None:
    if text.strip() in _NULLS:
        return None
    if not _DECIMAL.fullmatch(text.strip()):
        raise ValueError(text)
    return Decimal(text.strip()).quantize(_CENTS)


def _count(text: str) -> int | None:
    return None if text.strip() in _NULLS else _key(text)


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    return text


_PARSERS: dict[Kind, Callable[[str], Value]] = {
    Kind.KEY: _key,
    Kind.MOMENT: _moment,
    Kind.AMOUNT: _amount,
    Kind.COUNT: _count,
    Kind.TEXT: _text,
}


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
