"""The benchmark of the service: ``make bench-serve ARGS="--days 30"``. It writes its section of docs/benchmarks.md.

Four contestants answer the same distinct requests from the same lake: the service with its replica, the service on Delta alone,
DuckDB with its own Delta reader, and PostgreSQL; first in the process, then all but DuckDB over HTTP with the load beside them.
Before any is measured, each has to give the same bytes as the others. The limit of the framework is a route that gives the same
body from memory. The same requests are then measured beside a history of 365 days. Exits 1 when it failed, or when a wanted bound
is missed; the section is written all the same.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import date
from pathlib import Path

from bench.document import add_places, facts, finish, given
from bench.errors import BenchError
from bench.machine import code, load, machine, versions
from bench.serving import postgres
from bench.serving.build import build
from bench.serving.inside import beside_peers, growth
from bench.serving.lake import Size, make_lake
from bench.serving.outside import outside
from bench.setting import say

_TOLD = ("days", "products", "minute_days", "growth", "growth_minute_days", "requests", "seconds", "connections")
"""Options that a report names."""


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark and writes its section; 0, or 1 when it failed, two contestants differed or a bound is missed."""
    arguments = _parser().parse_args(argv)
    size = Size(arguments.days, arguments.products, arguments.minute_days or arguments.days)
    before = load()
    say(f"{machine()}; load before: {before}")
    try:
        body = _run(size, arguments)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    head = facts(
        [
            ("command", f"`make bench-serve{given(arguments, _parser(), _TOLD)}`, {date.today().isoformat()}, commit {code()}"),
            ("machine", f"{machine()}; its load before: {before}, after: {load()}"),
            ("versions", f"{versions()}, PostgreSQL {postgres.version()}"),
            ("PostgreSQL", ", ".join(f"{name} {value}" for name, value in postgres.SETTINGS.items())),
            ("lake", size.words),
        ]
    )  # fmt: skip
    title = f"Serving: {size.days} days of {size.products:,} products"
    return finish(arguments.docs, f"serving-{size.name}", title, head, body)


def _run(size: Size, arguments: argparse.Namespace) -> str:
    cache: Path = arguments.cache
    say("the lake ...")
    lake = make_lake(cache, size)
    replica = cache / "replica"
    stands = _stands(lake, replica)
    say("PostgreSQL, loaded and indexed ...")
    with postgres.loaded(lake, cache) as address:
        inside = beside_peers(size, lake, replica, address, arguments.requests)
        over_http = outside(size, lake, replica, address, arguments)
    parts = [stands, f"### In the process, milliseconds (p50, p99)\n\n{inside}"]
    clients = f"{arguments.connections} connections that are kept, by wrk on the same cores"
    parts.append(f"### Over HTTP: {clients}\n\n{over_http}")
    if arguments.growth:
        parts.append(f"### With {arguments.growth} days of history\n\n{_growth(size, lake, replica, arguments)}")
    return "\n".join(parts)


def _growth(size: Size, lake: Path, replica: Path, arguments: argparse.Namespace) -> str:
    minute_days = arguments.growth if arguments.growth_minute_days is None else arguments.growth_minute_days
    # What is asked of both has to be there in both.
    large = Size(arguments.growth, size.products, min(arguments.growth, max(size.minute_days, minute_days)))
    say(f"the lake of {large.days} days ...")
    other = make_lake(arguments.cache, large)
    folder: Path = arguments.cache / "replica-growth"
    stands = _stands(other, folder)
    times = growth(size, large, (lake, other), (replica, folder), arguments.requests)
    return f"The lake: {large.words}.\n\n{stands}\n{times}"


def _stands(lake: Path, replica: Path) -> str:
    """Makes the replica anew, and says what that took."""
    say("the replica ...")
    shutil.rmtree(replica, ignore_errors=True)
    built = build(lake, replica)
    size, source = _bytes_below(replica) / 1e6, _rollup_bytes(lake) / 1e6
    return (
        f"The replica, which a low-priority thread makes while Delta answers, stood after {built.seconds:.1f} s and takes "
        f"{size:.0f} MB; the tables that it is made from take {source:.0f} MB. A process that did nothing else had "
        f"{built.before_mb:.0f} MB of memory before it began and {built.peak_mb:.0f} MB at its peak (resident set, libraries "
        "included).\n"
    )


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.duckdb"))


def _rollup_bytes(lake: Path) -> int:
    return sum(file.stat().st_size for file in lake.glob("ctr_*/**/*.parquet"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--days", type=int, default=30, metavar="N", help="days of history (default %(default)s)")
    add("--products", type=int, default=10_000, metavar="N", help="products (default %(default)s)")
    add(
        "--growth",
        type=int,
        default=365,
        metavar="N",
        help="measure beside a history of so many days, too (default %(default)s); 0: not",
    )
    add("--minute-days", type=int, metavar="N", help="newest days that have minutes (default: all)")
    add(
        "--growth-minute-days",
        type=int,
        metavar="N",
        help="the same of the long history, at least as many (default: all, which a slow machine takes half an hour to make)",
    )
    add(
        "--requests",
        type=int,
        default=500,
        metavar="N",
        help="requests of each kind in the process (default %(default)s)",
    )
    add("--seconds", type=int, default=10, metavar="N", help="seconds of load on each server (default %(default)s)")
    add("--connections", type=int, default=8, metavar="N", help="clients at once (default %(default)s)")
    add("--port", type=int, default=18_600, metavar="N", help="first of the ports for servers (default %(default)s)")
    add_places(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
