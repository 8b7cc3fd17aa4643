"""docs/quarantine.md names every reason, docs/lake.md every table and column rule that code can prove."""

from __future__ import annotations

from jobs.decoding.records import Reason
from jobs.purchases import REASONS
from jobs.schemas import TABLES
from tests.conftest import ROOT


def reasons_table() -> str:
    """The table of docs/quarantine.md: ``scripts/python.sh -m tests.test_docs`` prints it."""
    lines = ["| reason | source | meaning |", "|---|---|---|"]
    lines += [f"| `{reason.value}` | events | {reason.text} |" for reason in Reason]
    lines += [f"| `{reason}` | purchases | {text} |" for reason, text in REASONS.items()]
    return "\n".join(lines) + "\n"


def test_every_reason_of_quarantine_is_documented():
    assert reasons_table() in (ROOT / "docs" / "quarantine.md").read_text(encoding="utf-8")


def test_every_table_is_documented():
    text = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    for table in TABLES:
        assert f"`{table.name}`" in text


if __name__ == "__main__":
    print(reasons_table(), end="")
