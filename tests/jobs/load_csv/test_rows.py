"""jobs/load_csv/rows.py: rules of values and of line numbers that hold for all inputs."""

from __future__ import annotations

import csv
import io
import tempfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import JobError
from jobs.load_csv.rows import CsvFile, Kind, Shape, open_csv

SHAPE = Shape("t", {"id": (Kind.KEY, ("id",)), "at": (Kind.MOMENT, ("at",))}, {"total": Kind.AMOUNT, "n": Kind.COUNT})
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def csv_file(folder: str, text: str) -> CsvFile:
    path = Path(folder) / "t.csv"
    path.write_bytes(text.encode())
    return open_csv(path, SHAPE)


def written(rows: list[list[str]], delimiter: str) -> str:
    target = io.StringIO()
    csv.writer(target, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return target.getvalue()


@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.datetimes(), TEXTS), unique_by=lambda row: row[0]),
    st.sampled_from(",;"),
)
def test_every_row_comes_back_as_it_was_written(rows: list[tuple[int, datetime, str]], delimiter: str) -> None:
    table = [["id", "at", "text"], *([str(key), at.isoformat(" "), text] for key, at, text in rows)]
    with tempfile.TemporaryDirectory() as folder:
        file = csv_file(folder, written(table, delimiter))
        assert [row.values for row in file.rows()] == rows
        assert file.check() == len(rows)


@given(st.lists(TEXTS, min_size=1, max_size=6))
def test_the_line_of_a_row_is_the_line_on_which_it_begins(texts: list[str]) -> None:
    texts = [text.replace("\r", "\n") for text in texts]
    table = [["id", "at", "text"], *([str(key), "2016-02-01 00:00", text] for key, text in enumerate(texts))]
    begins = [1 + written(table[: end + 1], ",").count("\n") for end in range(len(texts))]
    with tempfile.TemporaryDirectory() as folder:
        assert [row.line for row in csv_file(folder, written(table, ",")).rows()] == begins


@given(st.decimals(-(10**13), 10**13, places=4))
def test_amounts_of_four_places_stay_exact(amount: Decimal) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = csv_file(folder, f"id,at,total\n1,2016-02-01 00:00,{amount:f}\n")
        assert [row.values[2] for row in file.rows()] == [amount]


@pytest.mark.parametrize("text", ["", "NULL", r"\N", " "])
def test_numbers_may_be_missing(tmp_path: Path, text: str) -> None:
    file = csv_file(str(tmp_path), f"id,at,total,n\n1,2016-02-01 00:00,{text},{text}\n")
    assert [row.values[2:] for row in file.rows()] == [(None, None)]


@pytest.mark.parametrize("text", ["NaN", "inf", "1e5", "1.234.567", "R$ 5", "1" * 15])
def test_an_amount_that_is_no_plain_number_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match=r"line 2: total is .* wanted a number such as 189\.90"):
        csv_file(str(tmp_path), f"id,at,total\n1,2016-02-01 00:00,{text}\n").check()


@pytest.mark.parametrize(
    "text", ["2016-02-01", "2016-02-01 24:00:00", "20160201 10:00:00", "2016-02-01 10:00:00+01:00", ""]
)
def test_a_moment_without_time_or_with_a_zone_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        JobError, match=r"line 2: at is .* wanted a date-time such as 2016-02-01 13:55:00, without a zone"
    ):
        csv_file(str(tmp_path), f"id,at\n1,{text}\n").check()


def test_blank_lines_are_passed_over_and_counted_as_lines(tmp_path: Path) -> None:
    file = csv_file(str(tmp_path), "id,at\n\n1,2016-02-01 00:00\n\n2,2016-02-01 00:00\n")
    assert [row.line for row in file.rows()] == [3, 5]


def test_headers_fit_in_any_case_and_keep_their_spelling(tmp_path: Path) -> None:
    file = csv_file(str(tmp_path), "ID, At ,Other\n1,2016-02-01 00:00,x\n")
    assert file.columns == ("ID", "At", "Other")
    assert file.names == {"id": "ID", "at": "At"}
