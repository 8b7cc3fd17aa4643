"""Lending publications: whatever the order of events, none is closed while it is read, and each is closed once."""

from __future__ import annotations

from datetime import datetime, timezone

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serving.replica.segments import Segment
from serving.state.lending import Lending, Opened
from serving.state.publications import Publication
from serving.state.snapshot import Snapshot

MOST_OLDER = 2
NUMBERS = st.integers(1, 6)


def publication(number: int, lake: str = "lake") -> Publication:
    return Publication(lake, number, datetime(2016, 2, 1, tzinfo=timezone.utc), {}, "daily", {})


def opened(number: int, leases: int = 0) -> Opened:
    return Opened(Snapshot(publication(number), {}, {}), leases)


class Events(RuleBasedStateMachine):
    """New publications, questions about old ones, and answers that end."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[Snapshot] = []
        self.lending = Lending(MOST_OLDER, self.closed.append)
        self.leases: list[Opened] = []
        self.ever: list[Opened] = []
        self.asked: list[int] = []

    @rule(number=NUMBERS)
    def a_publication_is_served(self, number: int) -> None:
        one = opened(number)
        self.ever.append(one)
        self.lending.serve(one)

    @rule(number=st.none() | NUMBERS)
    def it_is_asked_for(self, number: int | None) -> None:
        current = self.lending.current
        found = self.lending.lend(number)
        if current is not None and number in (None, current.snapshot.version):
            assert found is current
            self.leases.append(current)
        else:
            assert found is None

    @rule(number=NUMBERS)
    def an_older_one_is_asked_for(self, number: int) -> None:
        known = number in self.lending.older
        found = self.lending.lend_older(publication(number))
        assert (found is not None) == known
        if found is None:
            found = opened(number, leases=1)
            self.ever.append(found)
            self.lending.keep(found)
        self.leases.append(found)
        self.asked = [*(one for one in self.asked if one != number), number][-MOST_OLDER:]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def an_answer_ends(self, data: st.DataObject) -> None:
        self.lending.take_back(self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))))

    @invariant()
    def none_is_closed_while_it_is_read_and_each_once(self) -> None:
        read = [id(one) for one in self.leases]
        assert all(one.leases == read.count(id(one)) for one in self.ever)
        closed = [id(snapshot) for snapshot in self.closed]
        assert len(closed) == len(set(closed))
        for one in self.ever:
            assert (id(one.snapshot) in closed) == (one.retired and not one.leases)

    @invariant()
    def the_newest_and_those_asked_for_last_are_open(self) -> None:
        assert self.lending.older == self.asked
        lent = [one for one in self.ever if not one.retired]
        assert len(lent) == len(self.asked) + (self.lending.current is not None)


Events.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestEvents = Events.TestCase


def test_an_older_publication_of_another_lake_is_not_lent():
    lending = Lending(MOST_OLDER, lambda snapshot: None)
    lending.keep(opened(1))
    assert lending.lend_older(publication(1, "another lake")) is None


def test_segments_are_added_and_dropped_from_the_next_lease_on():
    one, other = (Segment("ctr_day", 0, 1, name, 1) for name in ("ctr_day_a", "ctr_day_b"))
    lending = Lending(MOST_OLDER, lambda snapshot: None)
    lending.serve(opened(2))
    lending.keep(opened(1))
    for lent in (lending.lend(None), lending.lend_older(publication(1))):
        before = lent.snapshot
        lending.add_segments(lent, [one, other])
        assert (before.held, lent.snapshot.held) == (frozenset(), {one, other})
    assert lending.drop_segments(frozenset([one])) == [one, one]
    assert lending.current.snapshot.held == {other}
    assert lending.drop_segments(frozenset([one])) == []
