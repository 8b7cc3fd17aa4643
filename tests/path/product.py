"""The product from outside: what its commands print, what its service answers, what its lake holds (read by deltalake)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from deltalake import DeltaTable

from tests.conftest import ROOT, Service, run_job

ORDERS = "id,user_id,order_date,order_status,device_type\n"
ORDER_ITEMS = "id,order_id,sku,quantity,code_color\n"
STACK_TRACE = re.compile(
    r"Traceback \(most|^\s+at [\w.$/<>]+\(.*\)$|^\s+File \".*\", line \d+|Py4J|Exception in thread", re.M
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code and all it printed."""

    code: int
    text: str

    def check_no_stack_trace(self) -> None:
        """Fails when a stack trace of Python or Java stands in what was printed."""
        assert not STACK_TRACE.search(self.text), self.text

    def line(self, *parts: str) -> str:
        """The one line that holds all parts; fails when there is none or a stack trace stands anywhere."""
        self.check_no_stack_trace()
        found = [line for line in self.text.splitlines() if all(part in line for part in parts)]
        assert len(found) == 1, f"wanted one line with {parts}:\n{self.text}"
        return found[0]


def job(*arguments: str, env: dict[str, str]) -> Outcome:
    """Runs ``./spark-submit.sh`` to its end."""
    done = run_job(*arguments, env=env)
    return Outcome(done.returncode, done.stdout + done.stderr)


def python(module: str, *arguments: str | Path) -> Outcome:
    """Runs ``python -m module`` of the project to its end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False
    )
    return Outcome(done.returncode, done.stdout + done.stderr)


def load_csv(orders: str, order_items: str, folder: Path) -> str:
    """Puts the texts of two CSV files into a new SQLite database in the folder; its JDBC address."""
    url = f"jdbc:sqlite:{folder / 'purchases.db'}"
    (folder / "orders.csv").write_text(orders, encoding="utf-8")
    (folder / "order_items.csv").write_text(order_items, encoding="utf-8")
    done = python("jobs.load_csv", folder / "orders.csv", folder / "order_items.csv", "--url", url)
    assert done.code == 0, done.text
    return url


@contextmanager
def service(lake: str | Path, log: Path, ready: bool = True) -> Iterator[httpx.Client]:
    """A client of a real service process that runs as long as the block; ``ready`` False: it need only be alive."""
    process = Service({"CTR_LAKE": str(lake)}, log)
    try:
        process.wait("/health/ready" if ready else "/health/live")
        with httpx.Client(base_url=process.url, timeout=60) as client:
            yield client
    finally:
        process.stop()


def answer(response: httpx.Response) -> list[dict[str, Any]]:
    """The rows of an answer; numbers with a decimal point stay the text that was sent."""
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = json.loads(response.text, parse_float=str)
    return rows


def versions(lake: str | Path) -> dict[str, int]:
    """The version of every Delta table of the lake."""
    logs = sorted(Path(lake).glob("*/_delta_log"))
    return {log.parent.name: DeltaTable(str(log.parent)).version() for log in logs}


def publications(lake: str | Path) -> list[dict[str, Any]]:
    """All publications, the newest last; none where there is no such table."""
    path = Path(lake) / "publications"
    if not (path / "_delta_log").is_dir():
        return []
    rows: list[dict[str, Any]] = DeltaTable(str(path)).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: int(row["publication"]))


def published(lake: str | Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table at the version that the newest publication names."""
    version = publications(lake)[-1][f"{table}_version"]
    rows: list[dict[str, Any]] = DeltaTable(str(Path(lake) / table), version=version).to_pyarrow_table().to_pylist()
    return rows


def stated(lake: str | Path, path: str) -> dict[str, Any]:
    """The newest published statement about the event file of that path."""
    statements = [row for row in published(lake, "files") if row["path"] == path]
    return max(statements, key=lambda row: row["recorded_at"])
