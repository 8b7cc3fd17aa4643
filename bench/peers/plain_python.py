"""The plain script of Part I: one process, ``json.loads`` a line, a ``Counter``."""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path


def count(events: Path) -> Counter[tuple[str, str, int]]:
    """Views by platform, product and minute since 1970, each view once."""
    counts: Counter[tuple[str, str, int]] = Counter()
    for platform in sorted(folder for folder in events.iterdir() if folder.is_dir()):
        seen: set[tuple[str, int]] = set()
        for file in sorted(platform.rglob("*.json")):
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    _count_message(json.loads(line), platform.name, seen, counts)
    return counts


def _count_message(
    message: dict[str, object], platform: str, seen: set[tuple[str, int]], counts: Counter[tuple[str, str, int]]
) -> None:
    message_id, events = message.get("message_id"), message["events"]
    assert isinstance(events, list)
    for position, event in enumerate(events):
        data = event["data"]
        if event["event_type"] != "custom_event" or data.get("event_name") != "product":
            continue
        if isinstance(message_id, str):
            if (message_id, position) in seen:
                continue
            seen.add((message_id, position))
        minute = math.floor(float(data["timestamp_unixtime_ms"])) // 60_000
        counts[platform, data["custom_attributes"]["codeColor"], minute] += 1


def main(events: Path, out: Path) -> None:
    """Counts, writes a CSV file, prints the line."""
    began = time.perf_counter()
    counts = count(events)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "minutes.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["platform", "product", "minute", "views"])
        writer.writerows((*cell, views) for cell, views in sorted(counts.items()))
    seconds = round(time.perf_counter() - began, 3)
    print(json.dumps({"views": counts.total(), "cells": len(counts), "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
