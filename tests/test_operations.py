"""docs/operations.md tells the truth: its commands are understood, its SQL runs on a lake, its links lead somewhere."""

from __future__ import annotations

import re
import shlex

import pytest

from jobs import cli, sql
from jobs.disk import FULL_SECTION, RESTORE_SECTION
from jobs.publish import publish
from tests.conftest import ROOT
from tests.jobs.lakes import make_lake

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[list[str]]:
    """The lines of each block of commands."""
    return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)]


LINES = [line for block in blocks(TEXT) for line in block]
SQL = "scripts/python.sh -m jobs.sql "


def words(start: str) -> list[list[str]]:
    """Arguments of each command of the document that begins so (after variables, up to a pipe)."""
    found = [re.sub(r"^([A-Z_]+=\S+ )+", "", line) for line in LINES]
    split = [shlex.split(line.removeprefix(start)) for line in found if line.startswith(start)]
    return [line[: line.index("|")] if "|" in line else line for line in split]


@pytest.mark.parametrize("arguments", words("./spark-submit.sh ") + words("scripts/nightly.sh "), ids=" ".join)
def test_every_job_in_it_is_understood(arguments):
    while arguments[0].startswith("--"):  # options of spark-submit
        arguments = arguments[2:]
    assert cli.make_parser().parse_args(arguments)


@pytest.mark.parametrize("query", [arguments[-1] for arguments in words(SQL)])
def test_every_query_in_it_runs(query, tmp_path):
    lake = make_lake(tmp_path / "lake")
    publish(lake, 1, "daily", {})
    sql.connect(lake).sql(query).fetchall()


def test_it_has_commands():
    assert len(words("./spark-submit.sh ")) > 10
    assert len(words(SQL)) > 5


def test_its_links_lead_to_its_sections_and_to_files():
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)$", TEXT, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (ROOT / "docs" / target).exists(), target


def test_the_sections_that_messages_name_are_there():
    script = (ROOT / "scripts" / "nightly.sh").read_text(encoding="utf-8")
    named = set(re.findall(r'section="([^"]+)"|operations\.md, \\"([^"$]+)\\"', script))
    sections = [FULL_SECTION, RESTORE_SECTION, *("".join(pair) for pair in named)]
    assert len(sections) == 7
    for section in sections:
        assert f"## {section}\n" in TEXT
