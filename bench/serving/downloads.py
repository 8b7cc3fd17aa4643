"""Large answers over HTTP: rows a second in each format, and how far the memory of the service rises above that at rest.

``make bench-serve`` does it; ``python -m bench.serving.downloads --port 8000 --pid N`` measures a service that runs already.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from bench.document import table, verdict
from bench.errors import BenchError
from bench.serving.lake import Size
from bench.serving.memory import forget_peak, megabytes
from serving.contract import PLATFORMS
from serving.request.formats import FORMATS

ROWS = 999_999
"""Most rows of an answer: just below the limit of JSON."""

_PIECE = 1 << 20
_MOST_RISE = 300.0
_CODINGS = [("csv", "gzip"), ("csv", "zstd")]


def downloads(port: int, pid: int, size: Size) -> str:
    """A table: one line for each format, and two for CSV compressed; then what was wanted.

    Args:
        port: of a service with one worker and a replica, at rest.
        pid: its process.
        size: of the benchmark's lake that it serves.

    Raises:
        BenchError: an answer was not 200.
    """
    hours = min(ROWS // (size.products * len(PLATFORMS)), size.days * 24)
    count = hours * size.products * len(PLATFORMS)
    for name in FORMATS:
        _take(port, size, 1, name, "identity")  # code that runs first here is not what is measured
    time.sleep(1)
    idle = megabytes(pid, "VmRSS")
    rows, rises = [], []
    for name, coding in [*((name, "identity") for name in FORMATS), *_CODINGS]:
        forget_peak(pid)
        before, began = _processor_seconds(pid), time.perf_counter()
        taken = _take(port, size, hours, name, coding)
        seconds = time.perf_counter() - began
        spent, rise = _processor_seconds(pid) - before, megabytes(pid, "VmHWM") - idle
        rises.append(rise)
        called = name if coding == "identity" else f"{name}, {coding}"
        rows.append([called, f"{count / seconds:,.0f}", f"{spent:.2f}", f"{taken / 1e6:.1f}", f"{rise:.0f}"])
    head = ["format", "rows a second", "processor seconds", "MB sent", "MB of memory above rest, at most"]
    told = f"{count:,} rows, by hour, from the replica; at rest the process takes {idle:.0f} MB."
    bound = verdict("MB of memory above rest, the most of all formats", max(rises), most=_MOST_RISE)
    return f"{told}\n\n{table(head, rows)}\n{bound}"


def _take(port: int, size: Size, hours: int, name: str, coding: str) -> int:
    """Read one answer to its end and throw it away; its size in bytes as sent."""
    first = size.first_day
    start = datetime(first.year, first.month, first.day)
    values = {
        "startTimestamp": str(start),
        "endTimestamp": str(start + timedelta(hours=hours)),
        "aggregation": "60",
        "format": name,
    }
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", f"/v1/ctr?{urlencode(values)}", headers={"Accept-Encoding": coding})
        response = connection.getresponse()
        if response.status != 200:
            raise BenchError(f"{name}: {response.status} {response.read(500).decode(errors='replace')}")
        taken = 0
        while piece := response.read(_PIECE):
            taken += len(piece)
        return taken
    finally:
        connection.close()


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: list[str] | None = None) -> int:
    """Measure a running service and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving.downloads", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="of the service")
    parser.add_argument("--pid", type=int, required=True, help="its process")
    parser.add_argument("--days", type=int, default=30, help="of its lake (default %(default)s)")
    parser.add_argument("--products", type=int, default=10_000, help="of its lake (default %(default)s)")
    arguments = parser.parse_args(argv)
    print(downloads(arguments.port, arguments.pid, Size(arguments.days, arguments.products, arguments.days)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
