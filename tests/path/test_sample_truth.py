"""Two independent accounts of the sample agree: what its generator counted and what the oracle reads."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.oracle import Oracle
from tests.path.product import python

pytestmark = pytest.mark.path


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--layout", "array", "--gzip", "--columns", "order_status", "--seed", "7"),
        ("--layout", "lines", "--clean", "--days", "1", "--seed", "8"),
    ],
    ids=" ".join,
)
def test_the_oracle_reads_what_the_sample_was_made_of(tmp_path: Path, options: tuple[str, ...]) -> None:
    sample = tmp_path / "sample"
    made = python("jobs.sample", "--out", sample, *options)
    assert made.code == 0, made.text
    oracle = Oracle.load(sample / "events", sample / "orders.csv", sample / "order_items.csv")
    truth = json.loads((sample / "truth.json").read_text(encoding="utf-8"))
    views = Counter((str(fact.time.date()), fact.platform, fact.product) for fact in oracle.views)
    purchases = Counter((str(fact.time.date()), fact.platform, fact.product) for fact in oracle.purchases)
    cells = {
        (day, platform, product): counts
        for day, platforms in truth["cells"].items()
        for platform, products in platforms.items()
        for product, counts in products.items()
    }
    assert cells == {key: [views[key], purchases[key]] for key in views | purchases}
    assert views.total() == truth["views_once"]
    assert purchases.total() == truth["purchases"] > 0
