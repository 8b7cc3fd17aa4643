"""Fixtures of the tests of the state: a lake that the system does not let anybody look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.lake import Lake


@pytest.fixture
def unreachable(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets looks at the log of ``publications`` fail by an error number: its ``stat``, or the ``iterdir`` after it.

    By what the system says and not by permissions, which do not hold for root.
    """
    log = lake.path / "publications" / "_delta_log"

    def start(number: int, look: str = "stat") -> None:
        whole = getattr(Path, look)

        def failing(path: Path, *arguments: Any, **named: Any) -> Any:
            if path == log:
                raise OSError(number, os.strerror(number), str(path))
            return whole(path, *arguments, **named)

        monkeypatch.setattr(Path, look, failing)

    return start
