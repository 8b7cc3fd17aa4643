"""Writes sections of docs/benchmarks.md. Each is the business of the command that its mark names; the others stay as they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from bench.machine import ROOT
from bench.setting import say

_HEAD = """# Benchmarks

Every section is written by the command that it names; change nothing by hand.
"""

_MET, _MISSED = ": **met**", ": **missed**"
"""How a verdict ends."""


def add_places(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where the files of a benchmark lie."""
    add = parser.add_argument
    add(
        "--cache",
        type=Path,
        default=ROOT / ".cache" / "bench",
        metavar="FOLDER",
        help="where what is measured again is kept",
    )
    add("--docs", type=Path, default=ROOT / "docs" / "benchmarks.md", metavar="FILE", help="where the result goes")


def put_section(file: Path, name: str, body: str) -> None:
    """Replaces the section ``name`` of the file, or adds it at the end; all else in the file stays."""
    begin, end = f"<!-- {name}: written by the benchmark -->\n", f"<!-- /{name} -->\n"
    text = file.read_text(encoding="utf-8") if file.exists() else _HEAD
    section = f"{begin}{body.strip()}\n{end}"
    if begin in text:
        before, _, rest = text.partition(begin)
        text = before + section + rest.partition(end)[2]
    else:
        text = f"{text.rstrip()}\n\n{section}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def finish(file: Path, name: str, title: str, head: str, body: str) -> int:
    """Write a report into its section and print it; the exit code of the benchmark: 1 when a wanted bound is missed, else 0."""
    put_section(file, name, f"## {title}\n\n{head}\n{body}")
    say(f"\n{body}\nwritten to {file}")
    missed = [line for line in body.splitlines() if line.endswith(_MISSED)]
    for line in missed:
        print(f"missed: {line.removeprefix('- ').removesuffix(_MISSED)}", file=sys.stderr)
    return 1 if missed else 0


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values."""
    return "".join(f"- {name}: {value}\n" for name, value in pairs)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the range where there are several: ``12.3 (11.9-13.0)``."""
    middle = f"{median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratio(value: float, of: float) -> str:
    """How many times ``of`` the value is."""
    return f"{value / of:.2f}" if of else "-"


def given(arguments: argparse.Namespace, parser: argparse.ArgumentParser, names: Iterable[str]) -> str:
    """What make was given besides: the options that differ from their defaults; folders of this machine are nobody's business."""
    found = []
    for name in names:
        value = getattr(arguments, name)
        if value != parser.get_default(name):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            found.append(f"--{name.replace('_', '-')} {text}")
    return f' ARGS="{" ".join(found)}"' if found else ""


def verdict(text: str, value: float, *, most: float | None = None, least: float | None = None) -> str:
    """A line that says whether a wanted bound is kept."""
    bound = f"at most {most:g}" if most is not None else f"at least {least:g}"
    kept = (most is None or value <= most) and (least is None or value >= least)
    return f"- {text}: {value:.2f}, wanted {bound}{_MET if kept else _MISSED}\n"


def gigabytes(count: float) -> str:
    """Bytes as GB with two digits."""
    return f"{count / 1e9:.2f}"
