from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from serving.load import sharing
from serving.load.sharing import SHARES, Door, Share, make_shares, own_share
from tests.serving.conftest import eventually
from tests.serving.lake import view


@pytest.fixture
def shares(tmp_path) -> Path:
    return Path(make_shares(tmp_path, 2))


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.fixture
def door():
    with Door() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        made.setblocking(False)
        yield made


def test_the_smallest_is_whoever_has_no_more_than_any_other(shares):
    one, other = Share(shares), Share(shares)
    assert (one.is_smallest, other.is_smallest) == (True, True)
    one.connections = 2
    assert (one.is_smallest, other.is_smallest) == (False, True)
    other.connections += 3
    assert (one.is_smallest, other.is_smallest) == (True, False)


def test_a_worker_that_has_ended_takes_no_part_and_leaves_its_place(shares, dead):
    shares.write_bytes(struct.pack("=qq", dead, 0) + shares.read_bytes()[16:])
    one = Share(shares)
    assert struct.unpack_from("=qq", shares.read_bytes()) == (os.getpid(), 0)
    other = Share(shares)
    other.connections = 1
    shares.write_bytes(struct.pack("=qq", dead, 0) + shares.read_bytes()[16:])
    assert other.is_smallest
    assert one.connections == 0


def test_a_worker_that_closes_its_door_takes_no_part_though_it_has_connections_yet(shares, monkeypatch):
    ending, other = Share(shares), Share(shares)
    monkeypatch.setattr(sharing, "own_share", lambda: ending)
    other.connections = 3
    assert not other.is_smallest
    Door().close()
    ending.connections = 1
    assert other.is_smallest


def test_more_workers_than_places_share_as_far_as_there_are_places(shares):
    placed = [Share(shares) for _ in range(4)]
    late = Share(shares)
    late.connections = 7
    assert all(share.is_smallest for share in placed)
    assert not late.is_smallest


def test_a_process_that_is_no_worker_has_no_share(shares, monkeypatch):
    monkeypatch.setenv(SHARES, str(shares))
    own_share.cache_clear()
    assert own_share() is None


def test_a_connection_is_left_to_a_worker_with_fewer_and_taken_when_that_is_held_up(shares, door, monkeypatch):
    own, held_up = Share(shares), Share(shares)
    own.connections = 1
    monkeypatch.setattr(sharing, "own_share", lambda: own)
    now = 100.0
    monkeypatch.setattr(sharing, "monotonic", lambda: now)
    for again in range(2):
        with socket.create_connection(door.getsockname()):
            for _ in range(10):
                with pytest.raises(BlockingIOError):
                    door.accept()
                now += 0.005
            now += 0.001
            door.accept()[0].close()
            assert own.connections == 2 + again
        now += 1
    assert held_up.connections == 0


def test_where_nobody_waits_nothing_is_taken(shares, door, monkeypatch):
    own = Share(shares)
    monkeypatch.setattr(sharing, "own_share", lambda: own)
    with pytest.raises(BlockingIOError):
        door.accept()
    assert own.connections == 0


def test_workers_share_those_who_keep_their_connections(process, lake):
    lake.publish([view("2016-01-03 14:00:00")])
    running, url, log = process("--workers", "2")
    eventually(lambda: len(re.findall(r"Application startup complete", log.read_text())) == 2, 60)
    workers = {int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", log.read_text())} - {running.pid}
    port = int(url.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        eventually(lambda: sum(taken(port, workers).values()) == 40, 20)
        assert min(taken(port, workers).values()) >= 15
    eventually(lambda: sum(taken(port, workers).values()) == 0, 20)


def taken(port: int, processes: set[int]) -> Counter[int]:
    """How many open connections to a port each of the processes has."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    open_here = {fields[9] for fields in lines if int(fields[1].partition(":")[2], 16) == port and fields[3] == "01"}
    found = Counter(dict.fromkeys(processes, 0))
    for process in processes:
        for file in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                found[process] += str(file.readlink()).removeprefix("socket:[").rstrip("]") in open_here
    return found
