"""The SQL that makes, attaches and checks the segments of the replica."""

from __future__ import annotations

from datetime import date
from typing import Any

from serving.contract import PLATFORMS
from serving.query.statements import Query, checked, literal, stored
from serving.state.files import TableFiles


def detach(name: str) -> str:
    """The statement that ends an ``attach_segment``, if there was one."""
    return f"DETACH DATABASE IF EXISTS {checked(name)}"


def attach_segment(path: str, name: str) -> str:
    """The statement that makes a segment of the replica readable under a name."""
    return f"ATTACH {literal(path)} AS {checked(name)} (READ_ONLY)"


def name_in_segment(name: str) -> str:
    """The name that a segment was made under: one row of one text."""
    return f"SELECT name FROM {checked(name)}.segment"


def read_segment(name: str) -> str:
    """The statement that reads every value of a segment, and so fails if one cannot be read."""
    return f"""
        SELECT bit_xor(hash(product, platform, second, views, purchases)) FROM {checked(name)}.cell
        UNION ALL SELECT bit_xor(hash(id, name, platforms)) FROM {checked(name)}.product
    """


def make_segment(files: TableFiles, path: str, name: str, first_day: date, last_day: date) -> list[Query]:
    """The statements that write the cells of some days of a rollup into a file, sorted by product, platform, time.

    The file has three tables: ``cell`` (numbers only), ``product`` (the names behind the numbers, and a bit for each platform that
    has cells of it), ``segment`` (its own name).
    The statements fail if two products of the span have the same number, or a platform is none of the three.
    """
    days: dict[str, Any] = {"first": first_day, "last": last_day}
    source = stored(files.table, files.within(first_day, last_day), "files", days)
    cases = " ".join(f"WHEN {literal(platform)} THEN {index}" for index, platform in enumerate(PLATFORMS))
    number = f"(CASE platform {cases} ELSE error('a platform is not known') END)::UTINYINT"
    return [
        Query(f"ATTACH {literal(path)} AS made"),
        Query(
            "CREATE TABLE made.product AS SELECT md5_number_lower(product) AS id, product AS name, "
            f"bit_or(1::UTINYINT << {number}) AS platforms "
            f"FROM {source} WHERE date BETWEEN $first AND $last GROUP BY product ORDER BY id",
            days,
        ),
        Query(
            "SELECT CASE WHEN count(DISTINCT id) = count(*) THEN true ELSE error('two products have one number') END "
            "FROM made.product"
        ),
        Query(
            "CREATE TABLE made.cell AS SELECT named.id AS product, "
            f"{number} AS platform, "
            "epoch_us(time) // 1000000 AS second, views, purchases "
            f"FROM {source} AS source JOIN made.product AS named ON named.name = source.product "
            "WHERE date BETWEEN $first AND $last ORDER BY ALL",
            days,
        ),
        Query("CREATE TABLE made.segment AS SELECT $name AS name", {"name": name}),
        Query("CHECKPOINT made"),
        Query(unmake_segment()),
    ]


def unmake_segment() -> str:
    """The statement that lets go of the file of ``make_segment``, also of one that could not be made."""
    return detach("made")


def products_of_segment(name: str) -> str:
    """The products of a segment: rows of number and name."""
    return f"SELECT id, name FROM {checked(name)}.product"
