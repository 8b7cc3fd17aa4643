"""``scripts/python.sh -m jobs.sql "SELECT ..."``: DuckDB over the tables of a lake, all as one publication names them. Reads only.

The tables have their own names (docs/lake.md); ``publications`` is read as it is now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import reduce
from operator import and_

import duckdb
from deltalake import DeltaTable
from pyarrow.dataset import Expression, FileSystemDataset, field, get_partition_keys, scalar

from jobs.config import load_config
from jobs.errors import JobError, UsageError
from jobs.lake import Lake, existing_lake
from jobs.output import drop_output
from jobs.publish import published
from jobs.rollback import find_publication
from jobs.schemas import PARTITION, PUBLICATIONS, PUBLISHED

_ROWS = 1000
_WRONG = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the answer, at most a thousand rows of it; the exit code is as of a job."""
    parser = argparse.ArgumentParser(prog="scripts/python.sh -m jobs.sql", description=__doc__)
    parser.add_argument("query", help="one statement of DuckDB's SQL")
    parser.add_argument(
        "--publication", type=int, metavar="N", help="as publication N names them (default: the newest)"
    )
    arguments = parser.parse_args(argv)
    try:
        connection = connect(existing_lake(load_config().lake), arguments.publication)
        answer = connection.sql(arguments.query)
        if answer is not None:
            answer.show(max_rows=_ROWS, max_width=10_000, max_col_width=200)
            sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except _WRONG as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (duckdb.Error, OSError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


def connect(lake: Lake, number: int | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB with the tables of publication ``number`` (default: the newest); times are shown in UTC.

    Raises:
        UsageError: there is no such publication.
        JobError: nothing is published, or data of that publication was deleted by ``maintain``.
    """
    publication = published(lake) if number is None else find_publication(lake, number)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in PUBLISHED:
        connection.register(table.name, _rows(lake.open(table, publication[f"{table.name}_version"])))
    connection.register(PUBLICATIONS.name, _rows(lake.open(PUBLICATIONS)))
    return connection


def _rows(delta: DeltaTable) -> FileSystemDataset:
    """The rows of a table, whose files a query may pass over by their day and platform alone.

    Not by the statistics in the log: a column that has none there, as Delta allows, is to delta-rs one without a value, and a
    filter on it finds nothing.
    """
    found = delta.to_pyarrow_dataset()
    files = [
        found.format.make_fragment(file.path, file.filesystem, _partition(file.partition_expression))
        for file in found.get_fragments()
    ]
    return FileSystemDataset(files, found.schema, found.format, found.filesystem)


def _partition(known: Expression) -> Expression:
    """What is known of all rows of a file by its partition: ``known`` has the bounds of its columns besides."""
    keys = get_partition_keys(known)
    return reduce(and_, (field(name) == keys[name] for name in PARTITION if name in keys), scalar(True))


if __name__ == "__main__":
    sys.exit(main())
