"""API keys: ``scripts/python.sh -m serving.keys new|list|revoke`` keeps their file, ``KeyFile`` reads it and follows its changes.

The file holds of each key an id, which is its beginning, and the SHA-256 of the whole; the key itself is shown once.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from serving.contract import PLATFORMS
from serving.errors import SettingsError
from serving.settings import load_settings

logger = logging.getLogger(__name__)

SCOPES = ("read", "metrics")
"""What a key may be for: ``read`` answers under ``/v1``, ``metrics`` for ``/metrics``."""

_MOST_DAYS = 36_500
"""For which a key may be valid: a calendar has an end."""

_PREFIX = "ctr_"
_ID_LENGTH = len(_PREFIX) + 8


@dataclass(frozen=True)
class Key:
    """One key as the file holds it."""

    id: str
    """The first letters of the key: safe to show and to log."""
    client: str
    sha256: str
    scopes: tuple[str, ...] = ("read",)
    platforms: tuple[str, ...] = ()
    """Empty: every platform."""
    expires: date | None = None
    """The last day (UTC) on which it is valid; ``None``: it stays valid."""
    created: date | None = None

    def valid_on(self, day: date) -> bool:
        """Whether the key has not expired."""
        return self.expires is None or day <= self.expires


_KEYS = TypeAdapter(tuple[Key, ...])

_MEND = "put the file back from a backup, or move it away and make new keys"


def today() -> date:
    """The day, UTC."""
    return datetime.now(timezone.utc).date()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        SettingsError: it cannot be read, or is no such file.
    """
    try:
        keys = _KEYS.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise SettingsError(
            f"there is no file of API keys {path}: make it with scripts/python.sh -m serving.keys new"
        ) from None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error.error_count()} faults in its text; {_MEND}"
        raise SettingsError(f"cannot read the API keys in {path}: {reason}") from None
    for key in keys:
        if not set(key.scopes) <= set(SCOPES) or not set(key.platforms) <= set(PLATFORMS):
            raise SettingsError(f"the API key {key.id} in {path} has a scope or a platform that there is not")
    return keys


def write_keys(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file in whole: a new one can be read by its owner only, an old one keeps mode, group and owner where it may."""
    text = json.dumps([asdict(key) for key in keys], default=str, indent=1)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        if path.exists():
            _keep_access(out.fileno(), path.stat())
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)


def _keep_access(new: int, old: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(new, -1, old.st_gid)
        os.fchown(new, old.st_uid, -1)
    os.fchmod(new, stat.S_IMODE(old.st_mode))


class KeyFile:
    """The keys of a file, read again when it changes. A file that has become unreadable leaves the last keys in force."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._mark: tuple[int, ...] | None = None
        """Of the file as it was read last: while it cannot be read, it is tried again and again."""
        self._keys: dict[str, Key] = {}
        self._problem: str | None = None
        self._load()

    def find(self, secret: str) -> Key | None:
        """The key that this is, if it is one; it may have expired."""
        if self._stamp() != self._mark or self._problem is not None:
            self._follow()
        digest = hashlib.sha256(secret.encode()).hexdigest()
        key = self._keys.get(secret[:_ID_LENGTH])
        return key if key is not None and hmac.compare_digest(key.sha256, digest) else None

    def _follow(self) -> None:
        """Read the file again. What is wrong with it is logged once."""
        before, self._problem = self._problem, None
        try:
            self._load()
        except SettingsError as error:
            self._problem = str(error)
            if self._problem != before:
                logger.error("%s; the keys read before stay in force", error)

    def _load(self) -> None:
        mark = self._stamp()
        self._keys = {key.id: key for key in read_keys(self._path)}
        self._mark = mark

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def make_key(client: str, scopes: tuple[str, ...], platforms: tuple[str, ...], expires: date | None) -> tuple[str, Key]:
    """A new random key: its secret, and what the file holds of it."""
    secret = _PREFIX + secrets.token_hex(4) + "_" + secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return secret, Key(secret[:_ID_LENGTH], client, digest, scopes, platforms, expires, today())


def main(arguments: list[str] | None = None) -> int:
    """Keep the file of keys. Exit code 2: wrong usage, a wrong setting, or a file that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        path = Path(options.file or load_settings().api_keys_file or "")
        if path.name == "":
            raise SettingsError("no file of API keys is named: give --file FILE, or set CTR_API_KEYS_FILE")
        path = Path(os.path.realpath(path))  # a link stays one, and whoever comes by it waits for the same lock
        told = _locked(path, lambda: _COMMANDS[options.command](path, options))
    except SettingsError as error:
        print(f"serving.keys: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"serving.keys: cannot use {error.filename or 'the file of keys'}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        print(told, flush=True)
    except BrokenPipeError:  # whoever reads has enough of it; the rest must not be tried again when the process ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _locked(path: Path, work: Callable[[], str]) -> str:
    """Do it while no other command changes the file."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return work()


def _new(path: Path, options: argparse.Namespace) -> str:
    expires = today() + timedelta(days=options.days) if options.days is not None else None
    scopes, platforms = tuple(options.scope or ["read"]), tuple(options.platform or [])
    secret, key = make_key(options.client, scopes, platforms, expires)
    write_keys(path, (*(read_keys(path) if path.exists() else ()), key))
    return f"{secret}\n(the key of {key.client}, shown this once; its id is {key.id})"


def _list(path: Path, options: argparse.Namespace) -> str:
    lines = [f"{'id':14}{'client':20}{'scopes':14}{'platforms':26}{'created':12}expires"]
    for key in read_keys(path):
        platforms = ",".join(key.platforms) or "all"
        ends = f"{key.expires or 'never'}{'' if key.valid_on(today()) else ' (expired)'}"
        lines.append(f"{key.id:14}{key.client:20}{','.join(key.scopes):14}{platforms:26}{key.created!s:12}{ends}")
    return "\n".join(lines)


def _revoke(path: Path, options: argparse.Namespace) -> str:
    keys = read_keys(path)
    kept = tuple(key for key in keys if key.id != options.id)
    if len(kept) == len(keys):
        raise SettingsError(
            f"there is no key {options.id} in {path}: scripts/python.sh -m serving.keys list shows them"
        )
    write_keys(path, kept)
    return f"{options.id} is revoked; a running service follows with its next request"


_COMMANDS: dict[str, Callable[[Path, argparse.Namespace], str]] = {"new": _new, "list": _list, "revoke": _revoke}


def _days(text: str) -> int:
    """The days for which a key is valid.

    Raises:
        ArgumentTypeError: it is no such number.
    """
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, wanted a whole number from 1 to {_MOST_DAYS}; leave --days out for a key without an end"
        )
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/python.sh -m serving.keys", description="Keeps the API keys of the service."
    )
    parser.add_argument("--file", help="the file of keys (default: setting api_keys_file)")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key; it is shown once")
    new.add_argument("client", help="whose key it is; a client may have several")
    new.add_argument("--scope", action="append", choices=SCOPES, help="may repeat; default: read")
    new.add_argument("--platform", action="append", choices=PLATFORMS, help="may repeat; default: every platform")
    new.add_argument("--days", type=_days, help="days for which it is valid; default: no end")
    commands.add_parser("list", help="what keys there are")
    commands.add_parser("revoke", help="take a key back").add_argument("id", help="the id that list shows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
