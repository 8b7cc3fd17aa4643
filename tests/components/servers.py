"""Real database servers that a test starts for itself on the loopback address, and ends."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest


@contextmanager
def postgresql(settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Host, port and database of a fresh PostgreSQL, with any settings; its user ``me`` needs no password."""
    binaries = _postgresql_binaries()
    owner = _owner("postgres")
    port, folder = _free_port(), _folder(owner)
    own = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    options = [part for name, value in {**own, **(settings or {})}.items() for part in ("-c", f"{name}={value}")]
    initdb = [str(binaries / "initdb"), "-D", f"{folder}/data", "-U", "me", "--auth=trust", "-E", "UTF8"]
    subprocess.run(initdb, user=owner, cwd=folder, check=True, capture_output=True)
    server = f"127.0.0.1:{port}/postgres"
    command = [str(binaries / "postgres"), "-D", f"{folder}/data", *options]
    with _running(command, owner, folder, lambda: ask_postgresql(server, "select 1")):
        yield server


def ask_postgresql(server: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with psycopg.connect(f"postgresql://me@{server}", autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


@contextmanager
def mysql() -> Iterator[str]:
    """Host, port and database of a fresh MariaDB, which speaks MySQL's protocol; user ``me``, password ``secret``."""
    server, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if not server or not install:
        pytest.skip("no MariaDB server here: apt-get install mariadb-server")
    owner = _owner("mysql")
    port, folder = _free_port(), _folder(owner)
    data = f"--datadir={folder}/data"
    install_command = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install_command, user=owner, cwd=folder, check=True, capture_output=True)
    init = Path(folder) / "init.sql"
    user = "me@'127.0.0.1'"
    statements = [
        "create database shop",
        f"create user {user} identified by 'secret'",
        f"grant all on shop.* to {user}",
    ]
    init.write_text("".join(f"{statement};\n" for statement in statements))
    command = [
        server, "--no-defaults", data, "--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder}/socket",
        f"--pid-file={folder}/pid", f"--init-file={init}", "--skip-name-resolve",
    ]  # fmt: skip
    address = f"127.0.0.1:{port}/shop"
    with _running(command, owner, folder, lambda: ask_mysql(address, "select 1")):
        yield address


def ask_mysql(server: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    host, port = server.partition("/")[0].split(":")
    with (
        pymysql.connect(
            host=host, port=int(port), user="me", password="secret", database="shop", autocommit=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
        return list(cursor.fetchall())


@contextmanager
def _running(command: list[str], owner: str | None, folder: str, ask: Callable[[], object]) -> Iterator[None]:
    with (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(command, user=owner, cwd=folder, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    ask()
                    break
                except (psycopg.OperationalError, pymysql.err.OperationalError):
                    if time.monotonic() > end or process.poll() is not None:
                        raise
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def _postgresql_binaries() -> Path:
    found = [Path(program).resolve() for name in ("postgres",) if (program := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    return found[-1].parent


def _owner(name: str) -> str | None:
    """Servers refuse to run as root: then their own user runs them."""
    if os.geteuid() != 0:
        return None
    if name not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip(f"the server does not run as root, and there is no user {name}")
    return name


def _folder(owner: str | None) -> str:
    folder = tempfile.mkdtemp(prefix="ctr-server-")
    if owner:
        shutil.chown(folder, owner)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
