"""Builders with defaults: a test names only what matters to it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

NOON = 1454328000000
"""2016-02-01 12:00:00 UTC in epoch milliseconds."""


def at(text: str) -> datetime:
    """A UTC time from ``2016-02-01 12:00:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def event(
    product: Any = "10_001", time: Any = NOON, name: Any = "product", kind: Any = "custom_event", **data: Any
) -> dict[str, Any]:
    """One element of a message's ``events``."""
    return {
        "data": {
            "custom_event_type": "navigation",
            "event_name": name,
            "timestamp_unixtime_ms": time,
            "custom_attributes": {"codeColor": product},
            **data,
        },
        "event_type": kind,
    }


def message(*events: Any, message_id: Any = "m-1", **fields: Any) -> dict[str, Any]:
    """One message; without events it holds one product view."""
    return {"events": list(events) or [event()], "message_id": message_id, "message_type": "events", **fields}


def lines(*messages: Any) -> bytes:
    """Messages as JSON lines."""
    return b"".join(json.dumps(item).encode() + b"\n" for item in messages)
