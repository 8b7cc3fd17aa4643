"""What tests of several modules of replies need."""

from __future__ import annotations

import pyarrow as pa
import pytest

from serving.reply import encode
from serving.reply.encode import text_of


@pytest.fixture
def failing_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers in text fail at their third piece: "disk on fire"."""
    calls: list[pa.Array] = []

    def failing(column: pa.Array) -> bytes:
        calls.append(column)
        if len(calls) == 3:
            raise RuntimeError("disk on fire")
        return text_of(column)

    monkeypatch.setattr(encode, "text_of", failing)
