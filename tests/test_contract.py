"""Jobs and service declare the tables of the lake each for itself; here they are proved to agree."""

from __future__ import annotations

import pytest

from jobs import config, schemas
from serving import contract

JOBS = {table.name: table for table in schemas.TABLES}


@pytest.mark.parametrize("name", [*contract.TABLES, "publications"])
def test_every_column_that_the_service_reads_is_written_by_the_jobs_with_the_same_type(name):
    wanted = contract.PUBLICATIONS if name == "publications" else contract.TABLES[name]
    for field in wanted:
        assert JOBS[name].schema.field(field.name).type == field.type, f"{name}.{field.name}"


def test_every_table_that_the_service_reads_is_published():
    assert set(contract.TABLES) <= {table.name for table in schemas.PUBLISHED}


def test_partitions_are_the_same():
    for name in contract.TABLES:
        expected = () if name == "coverage" else contract.PARTITION
        assert JOBS[name].partition_by == expected, name


def test_the_rollups_are_the_same():
    assert set(contract.GRAINS) == {table.name for table in schemas.ROLLUPS}


def test_the_platforms_are_the_same():
    assert set(contract.PLATFORMS) == set(config.PLATFORMS)
    assert list(contract.PLATFORMS) == sorted(contract.PLATFORMS, key=str.encode)
