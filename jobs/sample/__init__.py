"""Sample data: event folders in the structure of the case, the two CSV files, and what is true of them.

    scripts/python.sh -m jobs.sample                          # small, data/sample
    scripts/python.sh -m jobs.sample --out big --bytes 10g    # 10 GB of events a day

The same parameters give the same bytes, whatever the number of workers. ``jobs/sample/truth.py`` explains ``truth.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jobs.config import parse_bytes
from jobs.errors import JobError, UsageError
from jobs.sample.catalog import make_catalog
from jobs.sample.files import Account, EventFile, Parameters, plan_files, write_file
from jobs.sample.folder import is_there, put_in_place, scratch, write_marker
from jobs.sample.orders import SPELLINGS, OrderFiles
from jobs.sample.truth import Truth

_FIRST_DAY, _LAST_DAY = date(2002, 1, 1), date(2099, 12, 30)
"""Days whose times in milliseconds have 13 digits and are no broken ones."""


def main(argv: list[str] | None = None) -> int:
    """Makes a sample as the arguments say; 0 done or there already, 1 failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        parameters = _parameters(arguments)
        make_sample(Path(arguments.out), parameters, workers=arguments.workers, force=arguments.force)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 1
    return 0


def make_sample(out: Path, parameters: Parameters, *, workers: int | None = None, force: bool = False) -> None:
    """Writes a sample to ``out``, whole or not at all; keeps one that is there with the same parameters.

    Raises:
        UsageError: another sample, or anything else, is there.
        JobError: the sample cannot be written.
    """
    if is_there(out, parameters, force=force):
        print(f"{out}: this sample is there already (--force makes it again)")
        return
    began = time.perf_counter()
    try:
        with scratch(out.resolve()) as folder:
            truth = _generate(folder, parameters, workers)
            write_marker(folder, parameters)
            put_in_place(folder, out)
    except OSError as error:
        raise JobError(f"cannot write the sample {out}: {error}; free space or choose another --out") from None
    except BrokenProcessPool:
        raise JobError(f"a worker died while writing the sample {out}; try fewer --workers") from None
    print(_closing(out, truth, time.perf_counter() - began))


def _generate(folder: Path, parameters: Parameters, workers: int | None) -> Truth:
    catalog = make_catalog(parameters.seed, parameters.products)
    files = list(plan_files(parameters, folder / "events"))
    truth = Truth(parameters, catalog)
    with (
        OrderFiles(folder, catalog, parameters.columns, parameters.seed) as orders,
        _accounts(files, workers) as accounts,
    ):
        for account in _progress(accounts, files):
            truth.add(account)
            for group in account.orders:
                orders.write(account.platform, group)
    truth.write(folder / "truth.json", orders.counts)
    return truth


@contextmanager
def _accounts(files: list[EventFile], workers: int | None) -> Iterator[Iterable[Account]]:
    """The accounts in the order of the files; a small sample is not worth the start of processes."""
    small = sum(file.messages for file in files) < 100_000
    count = min(workers or (1 if small else os.cpu_count() or 1), len(files))
    if count == 1:
        yield map(write_file, files)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool.map(write_file, files)
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A worker leaves Ctrl-C to its parent, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _progress(accounts: Iterable[Account], files: list[EventFile]) -> Iterator[Account]:
    """Passes the accounts on and shows the bytes written on a terminal."""
    columns = (TextColumn("sample"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    total = sum(file.expected_bytes for file in files)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sample", total=total)
        for account in accounts:
            progress.advance(task, account.unpacked)
            yield account


def _closing(out: Path, truth: Truth, seconds: float) -> str:
    total, size = truth.total, truth.total.unpacked / 1e6
    return (
        f"{out}: {truth.files} files, {size:,.1f} MB, {total.messages:,} messages, {truth.views_once:,} views, "
        f"{truth.purchases:,} purchases (CTR {truth.ctr:.4f}) in {seconds:.1f} s ({size / seconds:,.0f} MB/s)"
    )


def _parameters(arguments: argparse.Namespace) -> Parameters:
    last = arguments.start.toordinal() + arguments.days - 1
    if arguments.start < _FIRST_DAY or last > _LAST_DAY.toordinal():
        raise UsageError(f"--start {arguments.start} --days {arguments.days}: wanted days in {_FIRST_DAY}..{_LAST_DAY}")
    layout = arguments.layout or ("lines" if arguments.bytes else "mixed")
    messages = arguments.messages or (None if arguments.bytes else 3000)
    if arguments.messages and arguments.bytes:
        raise UsageError("--messages and --bytes both set the size of a day: give one of them")
    return Parameters(
        start=arguments.start,
        days=arguments.days,
        seed=arguments.seed,
        products=arguments.products,
        messages=messages,
        bytes=arguments.bytes,
        file_bytes=arguments.file_bytes,
        layout=layout,
        gzip=arguments.gzip,
        columns=arguments.columns,
        clean=arguments.clean,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/python.sh -m jobs.sample", description="Makes sample data, equal for equal parameters."
    )
    add = parser.add_argument
    add("--out", default="data/sample", help="folder of the sample (default %(default)s)")
    add("--days", type=_count, default=3, help="days of events (default %(default)s)")
    add("--start", type=_day, default=date(2016, 2, 1), metavar="YYYY-MM-DD", help="first day (default %(default)s)")
    add("--seed", type=_natural, default=1, help="another seed, another sample (default %(default)s)")
    add("--products", type=_count, default=300, metavar="N", help="products viewed (default %(default)s)")
    add("--bytes", type=_size, metavar="SIZE", help="unpacked size of a day's events, such as 10g")
    add("--messages", type=_count, metavar="N", help="messages a day, instead of --bytes (default 3000)")
    add(
        "--file-bytes", type=_size, default="128m", metavar="SIZE", help="unpacked size of a file (default %(default)s)"
    )
    add("--layout", choices=("lines", "array", "mixed"), help="of the files (default mixed; lines with --bytes)")
    add("--gzip", action="store_true", help="pack every file")
    add("--columns", choices=tuple(SPELLINGS), default="status", help="names of the status and device columns")
    add("--clean", action="store_true", help="no broken, repeated, late or copied records")
    add("--workers", type=_count, metavar="N", help="processes (default: one a core; one for a small sample)")
    add("--force", action="store_true", help="replace a sample that is there")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a whole number above 0")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a whole number, 0 or above")
    return int(text)


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, {error}") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted a day such as 2016-02-01") from None
