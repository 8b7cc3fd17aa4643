"""The folder of a sample: whole or not at all, kept when it is the wanted one, never replaced unasked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import UsageError
from jobs.sample.files import Parameters

MARKER = "sample.json"
"""The parameters of a finished sample; it is put in place last."""

ENTRIES = ("events", "orders.csv", "order_items.csv", "truth.json", MARKER)
"""All that a sample is made of; other files in its folder are never touched."""

_FORMAT = 1
"""Goes up when the same parameters begin to give other data."""


def is_there(out: Path, parameters: Parameters, *, force: bool) -> bool:
    """Whether the folder holds a finished sample of these parameters that is to be kept.

    Raises:
        UsageError: it holds another sample and ``force`` is not given, or something that is no finished sample.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; wanted a folder for the sample: choose another --out")
    marker = out / MARKER
    if not marker.exists():
        if out.is_dir() and any((out / entry).exists() for entry in ENTRIES):
            raise UsageError(f"{out} holds files that are no finished sample; remove it or choose another --out")
        return False
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{marker} cannot be read ({error}); remove {out} or choose another --out") from None
    if force:
        return False
    if found != _marker(parameters):
        raise UsageError(
            f"{out} holds a sample of other parameters (see {marker}): choose another --out, or replace it by --force "
            "(what was loaded from it into a database or a lake stays there)"
        )
    return True


def write_marker(folder: Path, parameters: Parameters) -> None:
    """Says that the sample in the folder is finished, and what it was made from."""
    (folder / MARKER).write_text(json.dumps(_marker(parameters), indent=2) + "\n", encoding="utf-8")


def _marker(parameters: Parameters) -> dict[str, object]:
    return {"format": _FORMAT, **parameters.as_json()}


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` on the same disk, gone at the end; those of dead runs are removed first."""
    prefix = f".{out.name}.partial-"
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in out.parent.glob(f"{prefix}*"):
        if not _is_running(old.name.removeprefix(prefix)):
            shutil.rmtree(old)
    folder = out.parent / f"{prefix}{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: str) -> bool:
    if not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def put_in_place(folder: Path, out: Path) -> None:
    """Moves a sample's entries to ``out``, the marker last; an old sample's marker goes first."""
    out.mkdir(exist_ok=True)
    for entry in reversed(ENTRIES):
        old = out / entry
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for entry in ENTRIES:
        (folder / entry).rename(out / entry)
