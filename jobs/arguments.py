"""Types of command line arguments that several jobs share, and the one type of a job's parsers."""

from __future__ import annotations

import argparse
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from jobs.config import parse_bytes

if TYPE_CHECKING:
    Jobs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def day(text: str) -> date:
    """A day from ``YYYY-MM-DD``."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: wanted YYYY-MM-DD") from None


def size(text: str) -> int:
    """Bytes from ``1048576``, ``64m``, ``20g``."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
