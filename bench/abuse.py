"""Others' times while somebody abuses the service: ``make bench-abuse``. It writes its section of docs/benchmarks.md.

One client asks for little at a steady pace, beside each kind of abuse, and alone before and after it: its p99 should at most
double. The worst requests that are legal are sent a hundred at once: none may run longer than ``query_seconds``, by more than half
a second. Exits 1 when it failed, or when a wanted bound is missed; the section is written all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

import duckdb
from deltalake import DeltaTable, write_deltalake

from bench.document import add_places, facts, finish, given, ratio, table, verdict
from bench.errors import BenchError
from bench.machine import code, load, machine, versions
from bench.serving import abuse
from bench.serving.lake import LAST_DAY, Size, make_lake, product_name, publish
from bench.serving.outside import Server, running
from bench.setting import say
from serving.contract import PARTITION, PLATFORMS, TABLES
from serving.keys import make_key, write_keys
from serving.load.last import come_last

_QUERY_SECONDS = 3.0
_QUEUE_SECONDS = 2.0
"""Settings of the service that is abused; all others are the defaults."""

_PACE_SECONDS = 0.02
_WAIT_SECONDS = 90

_RANGE = {"endTimestamp": f"{LAST_DAY + timedelta(days=1)} 00:00:00"}
_LONG = {**_RANGE, "startTimestamp": f"{LAST_DAY - timedelta(days=1098)} 00:00:01"}
_MANY = {**_RANGE, "startTimestamp": f"{LAST_DAY - timedelta(days=1098)} 00:00:00", "aggregation": 16}
_ALL = {"detail": "true", "ci": "0.95", "timezone": "America/Sao_Paulo"}
WORST: dict[str, dict[str, Any]] = {
    "1,099 days from a second on, no filter": {**_LONG, "aggregation": 1440, **_ALL, "format": "csv"},
    "the same in 16-minute buckets": {**_LONG, "aggregation": 16, **_ALL, "format": "csv"},
    "1,099 days of minutes in 98,910 buckets": {**_MANY, **_ALL, "format": "csv"},
    "the same with fill=zero": {**_MANY, **_ALL, "format": "csv", "fill": "zero"},
    "the same as Parquet": {**_MANY, **_ALL, "format": "parquet"},
}
"""Requests that are as long, as fine and as rich as the limits allow."""


_TOLD = ("days", "products", "seconds", "only")
"""Options that a report names."""


@dataclass(frozen=True)
class Times:
    """What the well-behaved client saw: how long each request took, in milliseconds, and how many failed."""

    each: tuple[float, ...]
    failed: int

    def __add__(self, other: Times) -> Times:
        return Times(self.each + other.each, self.failed + other.failed)

    @property
    def p50(self) -> float:
        """Half of the requests took at most so long."""
        return median(self.each)

    @property
    def p99(self) -> float:
        """All but a hundredth took at most so long."""
        return sorted(self.each)[int(len(self.each) * 0.99)]


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark and writes its section; 0, or 1 when it failed or a bound is missed."""
    arguments = _parser().parse_args(argv)
    size = Size(arguments.days, arguments.products, arguments.days)
    before = load()
    say(f"{machine()}; load before: {before}")
    try:
        lake = lake_with_views(arguments.cache / "abuse", size)
        body = _run(size, lake, arguments)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    head = facts(
        [
            ("command", f"`make bench-abuse{given(arguments, _parser(), _TOLD)}`, {date.today().isoformat()}, commit {code()}"),
            ("machine", f"{machine()}; its load before: {before}, after: {load()}"),
            ("versions", versions()),
            ("lake", f"{size.days} days, 3 platforms, {size.products:,} products, {_views(lake):,} views"),
            ("service", f"query_seconds {_QUERY_SECONDS:g}, all else as by default"),
            ("clients", "the one that is measured asks 50 times a second, before all others where that is allowed; "
             "the others compute when nobody else wants to"),
        ]
    )  # fmt: skip
    return finish(arguments.docs, "abuse", "Serving: others' times under abuse", head, body)


def lake_with_views(cache: Path, size: Size) -> Path:
    """A lake of that size, with a view for each that its minutes count: what is exact to the second is read from them."""
    root = make_lake(cache, size)
    if _views(root):
        return root
    connection = duckdb.connect(config={"threads": 2})
    days = sorted((root / "ctr_minute").glob("date=*"))
    for number, file in enumerate(days):
        rows = connection.execute(
            "SELECT $day::DATE AS date, platform, product, time + to_seconds(number * 7) AS time, "
            "md5(concat(product, time, number, platform)) AS message_id, 0::INTEGER AS position "
            "FROM read_parquet($files, hive_partitioning = true), unnest(range(views)) AS each(number)",
            {"day": file.name.removeprefix("date="), "files": f"{file}/**/*.parquet"},
        ).to_arrow_table()
        views = rows.select(TABLES["views"].names).cast(TABLES["views"])
        first: dict[str, Any] = {"mode": "overwrite", "schema_mode": "overwrite"}
        how = {"mode": "append"} if number else first
        write_deltalake(str(root / "views"), views, partition_by=list(PARTITION), **how)
    publish(root, 2)
    return root


def _views(root: Path) -> int:
    return int(DeltaTable(str(root / "views")).to_pyarrow_dataset().count_rows())


def _run(size: Size, lake: Path, arguments: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory(prefix="ctr-abuse-") as folder:
        secret, key = make_key("shop", ("read",), (), None)
        write_keys(Path(folder) / "keys.json", (key,))
        environment = {
            "CTR_LAKE": str(lake),
            "CTR_REPLICA_FOLDER": str(arguments.cache / "abuse" / "replica"),
            "CTR_CACHE_BYTES": "0",
            "CTR_API_KEYS_FILE": str(Path(folder) / "keys.json"),
            "CTR_KEY_REQUESTS": "10000000",
            "CTR_QUERY_SECONDS": str(_QUERY_SECONDS),
            "CTR_QUEUE_SECONDS": str(_QUEUE_SECONDS),
        }
        server = Server("the service", [sys.executable, "-m", "serving"], environment)
        with running(server, arguments.port):
            return asyncio.run(_abuses(size, secret, arguments))


async def _abuses(size: Size, key: str, arguments: argparse.Namespace) -> str:
    port, seconds = arguments.port, arguments.seconds
    await _replica_stands(port, size, key)
    every_hour = {**_RANGE, "startTimestamp": f"{size.first_day} 00:00:00", "aggregation": 60, "format": "csv"}
    long_answer = "/v1/ctr?" + urlencode(every_hour)
    kinds: dict[str, list[tuple[int, abuse.Client]]] = {
        "250 silent, 250 with a byte of their head a second": [(250, abuse.silent), (250, abuse.slow_head())],
        "250 bodies without end, 250 that take nothing of their answer": [
            (250, abuse.endless_body(key)),
            (250, abuse.takes_nothing(long_answer, key)),
        ],
        "8 with 2 MB of headers, over and over": [(8, abuse.long_head)],
        "8 that guess keys": [(8, abuse.asks("/v1/status", "ctr_guess"))],
        **{
            f"100 at once: {name}": [(100, abuse.asks(f"/v1/ctr?{urlencode(wanted)}", key))]
            for name, wanted in WORST.items()
        },
    }
    client = Client(port, size, key)
    rows, worst_ratio, latest = [], 0.0, 0.0
    for name, groups in kinds.items():
        if arguments.only not in name:
            continue
        alone = await client.times(seconds / 2)
        seen = [abuse.Seen() for _ in groups]
        beside = await _beside(groups, port, client, seconds, seen)
        await asyncio.sleep(_QUERY_SECONDS + 1)
        # The speed of a machine drifts, by a fifth and more: half of the time before, half after.
        alone += await client.times(seconds / 2)
        statuses = sum((one.statuses for one in seen), start=abuse.Seen().statuses)
        timeouts = max((one.slowest.get(504, 0.0) for one in seen), default=0.0)
        latest = max(latest, timeouts)
        worst_ratio = max(worst_ratio, beside.p99 / alone.p99)
        told = ", ".join(f"{count} x {status or 'closed'}" for status, count in sorted(statuses.items())) or "-"
        rows.append(
            [name, told, f"{alone.p50:.1f}, {alone.p99:.1f}", f"{beside.p50:.1f}, {beside.p99:.1f}",
             ratio(beside.p99, alone.p99), str(alone.failed + beside.failed)]
        )  # fmt: skip
        say(" | ".join(rows[-1]))
    columns = [
        "abuse",
        "what it was answered",
        "alone: p50, p99 ms",
        "beside: p50, p99 ms",
        "p99 beside / alone",
        "failed",
    ]
    bound = _QUERY_SECONDS + _QUEUE_SECONDS
    return (
        table(columns, rows)
        + "\n"
        + verdict("p99 of the other client, beside / alone", worst_ratio, most=2)
        + verdict(
            f"seconds until the latest 504, of which {bound:g} are queue_seconds and query_seconds",
            latest,
            most=bound + 0.5,
        )
    )


async def _beside(
    groups: list[tuple[int, abuse.Client]], port: int, client: Client, seconds: float, seen: list[abuse.Seen]
) -> Times:
    """What the client sees while all groups are at it."""
    if not groups:
        await asyncio.sleep(1)
        return await client.times(seconds)
    (count, abuser), *others = groups
    async with abuse.many(count, abuser, port) as noted:
        seen[len(seen) - len(groups)] = noted
        return await _beside(others, port, client, seconds, seen)


class Client:
    """The well-behaved client, in a process of its own: nothing that the others do in theirs is to hold up its clock.

    It stands for a machine of its own, so it goes before everything here, where that is allowed: without it, half of what it
    measured as the service's lateness was its own, of a tick or two of the scheduler's clock.
    """

    def __init__(self, port: int, size: Size, key: str) -> None:
        self._whom = (port, size, key)
        self._process = ProcessPoolExecutor(1, get_context("spawn"), initializer=_come_first)
        self._process.submit(os.getpid).result()
        # Those who abuse the service have machines of their own: their computing is to take no core from it, or from the client.
        come_last()

    async def times(self, seconds: float) -> Times:
        """What it sees for so long."""
        return await asyncio.get_running_loop().run_in_executor(self._process, _client, *self._whom, seconds)


def _come_first() -> None:
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not allowed there
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _client(port: int, size: Size, key: str, seconds: float) -> Times:
    return asyncio.run(_ask_steadily(port, size, key, seconds))


async def _ask_steadily(port: int, size: Size, key: str, seconds: float) -> Times:
    """One client that asks for one product and day at a steady pace, over one connection."""
    chance = random.Random(3)
    times, failed = [], 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        writer.write(f"GET {_little(size, chance)} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        await reader.readexactly(length)
        failed += b" 200 " not in head.splitlines()[0]
        spent = time.perf_counter() - began
        times.append(spent * 1000)
        await asyncio.sleep(max(0.0, _PACE_SECONDS - spent))
    writer.close()
    return Times(tuple(times), failed)


def _little(size: Size, chance: random.Random) -> str:
    day = size.first_day + timedelta(days=chance.randrange(size.days - 1))
    values = {
        "startTimestamp": f"{day} 00:00:00",
        "endTimestamp": f"{day + timedelta(days=1)} 00:00:00",
        "aggregation": 60,
        "product": product_name(chance.randrange(size.products)),
        "platform": chance.choice(PLATFORMS),
    }
    return f"/v1/ctr?{urlencode(values)}"


async def _replica_stands(port: int, size: Size, key: str) -> None:
    """Returns when the local copy answers."""
    whole = {"startTimestamp": f"{size.first_day} 00:00:00", **_RANGE, "aggregation": 1, "product": "none"}
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /v1/ctr?{urlencode(whole)} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        if b'source;desc="replica"' in head:
            return
        await asyncio.sleep(1)
    raise BenchError(f"the local copy did not stand after {_WAIT_SECONDS} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.abuse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--days", type=int, default=10, metavar="N", help="days of history (default %(default)s)")
    add("--products", type=int, default=3_000, metavar="N", help="products (default %(default)s)")
    add("--seconds", type=int, default=8, metavar="N", help="seconds of each measurement (default %(default)s)")
    add("--only", default="", metavar="TEXT", help="only kinds of abuse with this in their name")
    add("--port", type=int, default=18_700, metavar="N", help="port of the service (default %(default)s)")
    add_places(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
