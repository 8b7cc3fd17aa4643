"""Each line that the README shows for a reader is run here as it stands there, against a real server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.serving.lake import purchase, view

ADDRESS = "/v1/ctr?startTimestamp=2016-01-03T13:55:00&endTimestamp=2016-01-04T13:55:00&aggregation=60&format="
FORMATS = {"json", "ndjson", "csv", "arrow", "parquet"}
LINES = re.findall(
    r"^\| (pandas|Polars|DuckDB|R) \| `([^`]+)` \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
)
BEFORE = {
    "pandas": "import pandas as pd, pyarrow as pa; from urllib.request import urlopen",
    "Polars": "import polars as pl; from urllib.request import urlopen",
    "DuckDB": """import duckdb; from importlib.resources import files
folder = files("duckdb_extension_httpfs") / "extensions" / f"v{duckdb.__version__}"
duckdb.default_connection().load_extension(str(folder / "httpfs.duckdb_extension"))""",
}
TYPES = {
    "pandas": ("found.dtypes", ("float64", "object")),
    "Polars": ("found.schema", ("Float64", "String")),
    "DuckDB": ("dict(zip(found.columns, found.types))", ("DOUBLE", "VARCHAR")),
    "R": ("class(found$CTR), class(found$product)", ("numeric", "character")),
}
"""How each reader tells the types of its columns, and those that CTR and product should have."""

AFTER = """
table = found.df() if hasattr(found, "df") else found
table = table.to_dicts() if hasattr(table, "to_dicts") else table.to_dict("records")
for row in table:
    ctr = "null" if row["CTR"] is None or row["CTR"] != row["CTR"] else f"{row['CTR']:.4f}"
    print(str(row["timestamp"])[:19].replace("T", " "), row["platform"], row["product"], ctr, sep="|")
"""


def test_the_readme_has_a_line_for_every_format_of_every_reader():
    pattern = r"u \+ '(\w+)'|\{u\}(\w+)'|paste0\(u, \"(\w+)\"\)"
    shown = [(reader, "".join(found)) for reader, line in LINES for found in re.findall(pattern, line)]
    every = {"pandas": FORMATS, "Polars": FORMATS, "DuckDB": FORMATS - {"arrow"}, "R": FORMATS - {"arrow", "parquet"}}
    assert sorted(shown) == sorted((reader, form) for reader, forms in every.items() for form in forms)


def interpreter(reader: str) -> str:
    """What runs the line; without R its lines are skipped."""
    if reader != "R":
        return sys.executable
    found = shutil.which("Rscript")
    if (
        not found
        or subprocess.run([found, "-e", "loadNamespace('jsonlite')"], capture_output=True, check=False).returncode
    ):
        pytest.skip("R or its package jsonlite is not installed: scripts/test-servers.sh installs both")
    return found


def in_python(reader: str, line: str) -> str:
    """A script that prints what the line reads from the address."""
    return f"import sys; u = sys.argv[1]\n{BEFORE[reader]}\nfound = {line}\n{AFTER}"


def in_r(line: str) -> str:
    """The same in R."""
    return f"""u <- commandArgs(TRUE)[1]
found <- {line}
ctr <- ifelse(is.na(found$CTR), "null", sprintf("%.4f", found$CTR))
cat(paste(found$timestamp, found$platform, found$product, ctr, sep = "|"), sep = "\\n")
"""


def types_in_python(reader: str, line: str) -> str:
    """A script that prints the types of CTR and product, the number of rows and that of CTRs."""
    return f"""import sys; u = sys.argv[1]
{BEFORE[reader]}
found = {line}
types = {TYPES[reader][0]}
table = found.df() if hasattr(found, "df") else found
filled = table["CTR"].count()
print(types["CTR"], types["product"], len(table), filled, sep="|")
"""


def types_in_r(line: str) -> str:
    """The same in R."""
    return f"""u <- commandArgs(TRUE)[1]
found <- {line}
cat("", paste({TYPES["R"][0]}, nrow(found), sum(!is.na(found$CTR)), sep = "|"), sep = "\\n")
"""


@pytest.fixture
def address(lake, serve) -> str:
    """The start of an address that lacks the format alone."""
    views = [view("2016-01-03 14:00:00", name) for name in ("a", "a", "a", "b,", 'q"', "20001829_048", "0012", "NA")]
    lake.publish(views, [purchase("2016-01-03 14:00:00", "a"), purchase("2016-01-03 17:00:00", "z")])
    return str(serve(lake).base_url).rstrip("/") + ADDRESS


def run(reader: str, script: str, address: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The script, run in a process of its own: DuckDB holds the interpreter while it waits for the server."""
    file = tmp_path / "read"
    file.write_text(script)
    return subprocess.run(
        [interpreter(reader), str(file), address], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(("reader", "line"), LINES)
def test_one_line_reads_the_answer(address, tmp_path: Path, reader, line):
    done = run(reader, in_r(line) if reader == "R" else in_python(reader, line), address, tmp_path)
    assert [text for text in done.stdout.splitlines() if "|" in text] == [
        "2016-01-03 13:55:00|iOS|0012|0.0000",
        "2016-01-03 13:55:00|iOS|20001829_048|0.0000",
        "2016-01-03 13:55:00|iOS|NA|0.0000",
        "2016-01-03 13:55:00|iOS|a|0.3333",
        "2016-01-03 13:55:00|iOS|b,|0.0000",
        '2016-01-03 13:55:00|iOS|q"|0.0000',
        "2016-01-03 16:55:00|iOS|z|null",
    ], done.stderr


def columns_of(reader: str, line: str) -> str:
    """A script that prints the number of rows and the names of the columns."""
    if reader == "R":
        return f"""u <- commandArgs(TRUE)[1]
found <- {line}
cat("", paste(c(nrow(found), names(found)), collapse = "|"), sep = "\\n")
"""
    return (
        f"import sys; u = sys.argv[1]\n{BEFORE[reader]}\nfound = {line}\nprint(len(found), *found.columns, sep='|')\n"
    )


@pytest.mark.parametrize(("reader", "line"), LINES)
def test_one_line_reads_an_empty_answer(address, tmp_path: Path, reader, line):
    empty = address.replace("aggregation=60", "aggregation=60&product=nobody")
    done = run(reader, columns_of(reader, line), empty, tmp_path)
    names = "|timestamp|platform|product|CTR"
    if reader == "R" and "json" in line:  # which has nobody to name them
        names = "|rows|dataVersion" if "ndjson" in line else ""
    assert f"0{names}" in done.stdout.splitlines(), done.stderr


@pytest.fixture(params=[0, 1], ids=["none at all", "one in the end"])
def late(lake, serve, request) -> str:
    """The start of an address of an answer whose first 25,000 rows have no CTR."""
    purchases = [purchase("2016-01-03 14:00:00", f"{number:05}") for number in range(25_000)]
    lake.publish([view("2016-01-03 14:00:00", "z")] * request.param, purchases)
    return str(serve(lake).base_url).rstrip("/") + ADDRESS


@pytest.mark.parametrize(("reader", "line"), LINES)
def test_one_line_gives_the_types_whatever_the_first_rows_have(late, tmp_path: Path, request, reader, line):
    with_ctr = request.node.callspec.params["late"]
    done = run(reader, types_in_r(line) if reader == "R" else types_in_python(reader, line), late, tmp_path)
    number, text = TYPES[reader][1]
    if reader == "R" and "json" in line and not with_ctr:
        number = "logical"  # which R counts with as it does with numbers
    assert f"{number}|{text}|{25_000 + with_ctr}|{with_ctr}" in done.stdout.splitlines(), done.stderr
