from __future__ import annotations

from dataclasses import replace
from datetime import date
from math import inf

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from serving.reply.answers import cost_of
from serving.request.parameters import CtrRequest
from serving.state.cost import COUNTED, NO_SIZES, Sizes, sizes_of
from serving.state.files import files_of
from tests.serving.conftest import eventually
from tests.serving.lake import purchase, view
from tests.serving.replica.test_replica import open_replica, second, whole

__all__ = ["open_replica"]

DAYS = CtrRequest(second("2016-02-01 00:00:00"), second("2016-02-04 00:00:00"), 1440)

VIEWS = [
    view(f"2016-02-0{day} 10:00:00", product, platform)
    for day in (1, 2, 3)
    for product in "abc"
    for platform in ("iOS", "Android")
] + [view("2016-02-01 12:00:00.5", "a")]
PURCHASES = [purchase("2016-02-02 13:00:00", "a")]


@pytest.fixture
def rows(lake):
    """Three days of three products on two platforms; the first has an hour more."""
    lake.publish(VIEWS, PURCHASES)
    return lake


def sizes(lake) -> Sizes:
    return sizes_of({table: files_of(str(lake.path), table, lake.versions[table]) for table in COUNTED})


def test_rows_are_summed_over_the_days_and_platforms_asked_for(rows):
    found = sizes(rows)
    one, last = date(2016, 2, 1), date(2016, 2, 3)
    assert found.rows("views", ("iOS", "Android", "MobileWeb"), one, last) == 19
    assert found.rows("views", ("Android",), one, last) == 9
    assert found.rows("ctr_hour", ("iOS",), one, one) == 4
    assert found.rows("ctr_day", ("iOS",), date(2015, 1, 1), date(2016, 1, 31)) == 0
    assert found.rows("purchases", ("iOS",), date(2016, 2, 2), date(2017, 1, 1)) == 1
    assert NO_SIZES.rows("views", ("iOS",), one, last) == 0


def test_the_most_rows_are_known_only_where_every_file_says_how_many_it_has(rows, monkeypatch):
    day = date(2016, 2, 1)
    assert sizes(rows).most_rows("ctr_hour", ("iOS",), day, day) == 4
    assert NO_SIZES.most_rows("ctr_hour", ("iOS",), day, day) == inf
    real = DeltaTable.get_add_actions

    def silent(table, flatten):
        actions = pa.table(real(table, flatten=flatten))
        place = actions.column_names.index("num_records")
        return actions.set_column(place, "num_records", pa.nulls(actions.num_rows, pa.int64()))

    monkeypatch.setattr("serving.state.files.DeltaTable.get_add_actions", silent)
    guessed = sizes(rows)
    assert guessed.rows("ctr_hour", ("iOS",), day, day) > 4
    assert guessed.most_rows("ctr_hour", ("iOS",), day, day) == inf


def test_rows_of_days_with_gaps_are_summed():
    found = Sizes({("views", "iOS"): {date(2016, 1, 9): 5, date(2016, 1, 1): 7}})
    assert [found.rows("views", ("iOS",), date(2016, 1, day), date(2016, 1, 9)) for day in (1, 2, 9)] == [12, 5, 5]


def test_the_cost_from_delta_is_that_of_the_tables_read(rows, open_store):
    store = open_store(rows)
    assert cost_of(store, DAYS) == 18
    assert cost_of(store, replace(DAYS, platforms=("iOS",), products=("a",))) == 9, "Delta is read whole"
    assert cost_of(store, replace(DAYS, aggregation=60)) == 20
    assert cost_of(store, replace(DAYS, start=DAYS.start + 1)) == 4 * 20, "seconds are counted from views and purchases"
    assert cost_of(store, replace(DAYS, start=DAYS.start + 86_400 * 9, end=DAYS.end + 86_400 * 9)) == 0


def test_the_cost_of_products_of_the_replica_is_that_of_their_cells_alone(rows, open_replica):
    store = open_replica(rows)
    assert cost_of(store, DAYS) == 18
    assert cost_of(store, replace(DAYS, products=("a",), platforms=("iOS",))) == 3
    assert cost_of(store, replace(DAYS, products=("a",), platforms=("iOS",), aggregation=60)) == 11, "not 72 hours"


ONE = replace(DAYS, products=("a",), platforms=("iOS",), as_of=1)


def test_the_cost_as_of_a_publication_whose_segments_are_gone_is_that_from_delta(rows, open_replica):
    store = open_replica(rows)
    rows.publish(VIEWS, PURCHASES)  # every data file anew, as a rebuild makes them
    eventually(lambda: whole(store))
    assert [cost_of(store, replace(ONE, as_of=number)) for number in (None, 2)] == [3, 3]
    assert cost_of(store, ONE) == 9, "it is not open yet"
    store.lease(1).close()
    assert cost_of(store, ONE) == 9


def test_the_cost_as_of_a_publication_that_shares_its_segments_with_the_newest_is_that_of_the_replica(
    rows, open_replica
):
    store = open_replica(rows)
    rows.write("ctr_minute", [], mode="append")
    rows.announce()
    eventually(lambda: whole(store))
    store.lease(1).close()
    assert cost_of(store, ONE) == 3


def test_filling_costs_what_it_makes(rows, open_store):
    store = open_store(rows)
    assert cost_of(store, replace(DAYS, fill=True, aggregation=60)) == 20 + 72 * 18
    assert cost_of(store, replace(DAYS, fill=True, products=("a", "b"), platforms=("iOS",))) == 9 + 3 * 2
    zoned = replace(DAYS, fill=True, timezone="Europe/Berlin", products=("a",), platforms=("iOS",))
    assert cost_of(store, zoned) > cost_of(store, replace(zoned, fill=False))


def test_tables_without_rows_cost_nothing(lake, open_store):
    lake.publish([view("2016-02-01 10:00:00")])
    lake.write("purchases", [])
    lake.announce()
    assert sizes(lake).rows("purchases", ("iOS",), date(2016, 1, 1), date(2017, 1, 1)) == 0
    assert cost_of(open_store(lake), replace(DAYS, start=DAYS.start + 1)) == 4


def test_without_a_publication_nothing_costs_anything(lake, open_store):
    assert cost_of(open_store(lake), DAYS) == 0
