"""``python -m jobs.sql "SELECT ..."``: DuckDB over the tables of a lake, all as one publication names them. Reads only.

The tables have their own names (docs/lake.md); ``publications`` is read as it is now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import duckdb

from jobs.config import load_config
from jobs.errors import JobError, UsageError
from jobs.lake import Lake, existing_lake
from jobs.publish import published
from jobs.rollback import find_publication
from jobs.schemas import PUBLICATIONS, PUBLISHED

_ROWS = 1000
_WRONG = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the answer, at most a thousand rows of it; the exit code is as of a job."""
    parser = argparse.ArgumentParser(prog="python -m jobs.sql", description=__doc__)
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
        connection.register(table.name, lake.open(table, publication[f"{table.name}_version"]).to_pyarrow_dataset())
    connection.register(PUBLICATIONS.name, lake.open(PUBLICATIONS).to_pyarrow_dataset())
    return connection


if __name__ == "__main__":
    sys.exit(main())
