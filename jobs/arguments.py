"""Types of command line arguments that several jobs share, and the one type of a job's parsers."""

from __future__ import annotations

import argparse
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from jobs.config import parse_bytes
from jobs.errors import UsageError
from jobs.schemas import PLATFORMS

if TYPE_CHECKING:
    Jobs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def day(text: str) -> date:
    """A day from ``YYYY-MM-DD``."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: wanted YYYY-MM-DD") from None


def platform(text: str) -> str:
    """A platform from its name in any case."""
    for name in PLATFORMS:
        if name.lower() == text.lower():
            return name
    raise argparse.ArgumentTypeError(f"{text!r} is no platform: wanted one of {', '.join(PLATFORMS)}")


def check_days(arguments: argparse.Namespace) -> None:
    """Returns if ``--from`` does not lie after ``--to``, where both are given.

    Raises:
        UsageError: it does.
    """
    if arguments.first and arguments.last and arguments.first > arguments.last:
        raise UsageError(f"--from {arguments.first} lies after --to {arguments.last}: wanted the earlier day first")


def size(text: str) -> int:
    """Bytes from ``1048576``, ``64m``, ``20g``."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
