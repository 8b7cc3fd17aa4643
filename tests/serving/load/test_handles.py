from __future__ import annotations

import math
import resource

import pytest

from serving.load import handles


@pytest.fixture
def system(monkeypatch):
    """What the system is asked and told instead of the real one: soft and hard limit."""
    limits = [1024, 4096]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.__setitem__(slice(None), given))
    return limits


def test_a_process_takes_as_many_as_the_system_allows(system):
    handles.raise_limit()
    assert system == [4096, 4096]
    assert handles.limit() == 4096


def test_a_system_that_does_not_let_the_limit_be_raised_is_left_as_it_is(system, monkeypatch):
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    handles.raise_limit()
    assert handles.limit() == 1024


def test_connections_go_before_the_local_copy_which_has_half_of_all_nevertheless(system):
    assert handles.for_replica(1000) == 512
    assert handles.for_replica(100) == 824


def test_a_limit_that_is_too_low_is_told_with_the_one_that_is_wanted(system):
    assert handles.shortage(500, 424) is None
    assert handles.shortage(1000, 756) == (
        "1024 file handles are too few for 1000 connections (setting connections), 756 files of the local copy and "
        "100 others: raise it (ulimit -n, or LimitNOFILE of the unit of systemd) to 1856"
    )


def test_no_limit_is_enough_for_everything(system):
    system[:] = [resource.RLIM_INFINITY] * 2
    assert handles.limit() == handles.for_replica(10**6) == math.inf
    assert handles.shortage(10**6, 10**6) is None
