"""The benchmark of the ingestion: ``make bench-ingest ARGS="--mode MODE"``. It writes its section of docs/benchmarks.md.

    race      the product against DuckDB, Polars, Spark's JSON reader, chDB and a plain script (default)
    stages    where every second of the product goes
    history   the time of a night with 1, 30 and 365 days loaded
    cores     two workers of a standalone cluster against one
    idle      a night with nothing new
    sizes     memory and time of a day of 1 GB and of one of 10 GB

Data is generated once and kept; every result is checked against its truth, and a wrong one ends the benchmark. Exits 1 when it
failed, or when a wanted bound is missed; the section is written all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

from bench import cores, history, idle, race, sizes, stages
from bench.document import add_places, facts, finish, given
from bench.errors import BenchError
from bench.machine import code, load, machine, versions
from bench.setting import Setting, say
from jobs.config import parse_bytes

MODES: dict[str, tuple[str, Callable[[Setting], str]]] = {
    "race": ("Ingestion: the product and its peers", race.run),
    "stages": ("Ingestion: where every second goes", stages.run),
    "history": ("Ingestion: a night beside a long history", history.run),
    "cores": ("Ingestion: two workers against one", cores.run),
    "idle": ("Ingestion: a night with nothing new", idle.run),
    "sizes": ("Ingestion: memory by the size of a day", sizes.run),
}


_TOLD = ("mode", "rounds", "bytes", "peers", "sizes", "days")
"""Options that a report names."""


def main(argv: list[str] | None = None) -> int:
    """Runs one benchmark and writes its section; 0, or 1 when it failed, a contestant was wrong or a bound is missed."""
    arguments = _parser().parse_args(argv)
    title, run = MODES[arguments.mode]
    setting = Setting(
        rounds=arguments.rounds,
        size=arguments.bytes,
        data=arguments.data.resolve() if arguments.data else None,
        cache=arguments.cache.resolve(),
        sizes=arguments.sizes,
        days=arguments.days,
        peers=arguments.peers,
    )
    before = load()
    say(f"{machine()}; load before: {before}")
    try:
        body = run(setting)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    head = facts(
        [
            (
                "command",
                f"`make bench-ingest{given(arguments, _parser(), _TOLD)}`, {date.today().isoformat()}, commit {code()}",
            ),
            ("machine", f"{machine()}; its load before: {before}"),
            ("versions", versions()),
            ("rounds", str(arguments.rounds)),
            ("memory", "peak of the summed proportional set sizes (PSS) of all processes, five looks a second"),
        ]
    )
    return finish(arguments.docs, f"ingestion-{arguments.mode}", title, head, body)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--mode", choices=tuple(MODES), default="race", help="what is measured (default %(default)s)")
    add("--rounds", type=_count, default=3, metavar="N", help="how often each is run (default %(default)s)")
    add("--bytes", type=_size, default="10g", metavar="SIZE", help="size of the day of events (default %(default)s)")
    add("--data", type=Path, metavar="FOLDER", help="a clean sample that is there already, instead of --bytes")
    add("--peers", type=_peers, default=tuple(race.PEERS), metavar="A,B", help=f"of {', '.join(race.PEERS)}")
    add("--sizes", type=_sizes, default=("1g", "10g"), metavar="A,B", help="days of mode sizes (default 1g,10g)")
    add("--days", type=_days, default=(1, 30, 365), metavar="A,B", help="days of mode history (default 1,30,365)")
    add_places(parser)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a whole number above 0")
    return int(text)


def _size(text: str) -> str:
    try:
        parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, {error}") from None
    return text


def _sizes(text: str) -> tuple[str, ...]:
    return tuple(_size(part) for part in text.split(","))


def _days(text: str) -> tuple[int, ...]:
    return tuple(sorted({_count(part) for part in text.split(",")}))


def _peers(text: str) -> tuple[str, ...]:
    unknown = sorted(set(text.split(",")) - set(race.PEERS))
    if unknown:
        raise argparse.ArgumentTypeError(f"found {', '.join(unknown)}, wanted some of {', '.join(race.PEERS)}")
    return tuple(name for name in race.PEERS if name in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
