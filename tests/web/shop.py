"""The lake that the page is shown over: a week of three platforms, with a missing day, odd names and hours without views."""

from __future__ import annotations

import random
from typing import Any

from tests.serving.lake import Lake, purchase, view

NAMES = ("20001829_048", "20004987_495", "20005748_001", '<b>"},{"timestamp":"', "été ☀")
MISSING = "2016-02-04"


def rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Views and purchases from 1 to 8 February 2016, none on the fourth; the same each time."""
    chance = random.Random(5)
    views, purchases = [], []
    for platform, a_day in (("Android", 40), ("MobileWeb", 15), ("iOS", 30)):
        for day in (1, 2, 3, 5, 6, 7, 8):
            for _ in range(a_day):
                name = chance.choice(NAMES)
                time = (
                    f"2016-02-{day:02} {chance.randrange(6, 23):02}:{chance.randrange(60):02}:{chance.randrange(60):02}"
                )
                views.append(view(time, name, platform))
                if chance.random() < 0.15:
                    purchases.append(purchase(time, name, platform))
    purchases.append(purchase("2016-02-02 03:30:00", NAMES[0], "iOS"))  # an hour with a purchase and no view
    return views, purchases


def publish(lake: Lake) -> int:
    """Write it; gives the number of the publication."""
    return lake.publish(*rows(), published_at="2016-02-09 03:12:00")
