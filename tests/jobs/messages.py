"""Builders of events and messages with defaults, and the shortest way to decode bytes: for tests of decoding."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from jobs.decoding.decode import Account, Reject, decode

T = 1_515_546_904_352
UNSET = object()


def event(
    product: Any = "20008657_002", time: Any = T, *, kind: Any = "custom_event", name: Any = "product", **data: Any
):
    """A product event; a value that is UNSET leaves its key out."""
    attributes = {} if product is UNSET else {"codeColor": product}
    body = {"event_name": name, "timestamp_unixtime_ms": time, "custom_attributes": attributes, **data}
    event = {"data": {key: value for key, value in body.items() if value is not UNSET}, "event_type": kind}
    return {key: value for key, value in event.items() if value is not UNSET}


def message(*events: Any, message_id: Any = UNSET, **more: Any) -> dict[str, Any]:
    body = {"events": list(events), "mpid": -1, **more}
    return body if message_id is UNSET else {**body, "message_id": message_id}


def text(value: Any, **options: Any) -> bytes:
    """``value`` as compact JSON unless told otherwise."""
    options = options or {"separators": (",", ":")}
    return json.dumps(value, **options).encode()


@dataclass
class Decoded:
    """All that decoding gave."""

    account: Account
    views: list[tuple[str, int, str | None, int, int]]
    rejects: list[Reject]

    @property
    def reasons(self) -> list[tuple[str, int | None]]:
        return [(reject.reason.value, reject.position) for reject in self.rejects]

    @property
    def products(self) -> list[str]:
        return [view[0] for view in self.views]


def run(data: bytes, record_bytes: int = 1 << 20, **bounds: Any) -> Decoded:
    """Decodes ``data``; checks that the columns are of one length, that the sums hold and that each reject is in the account."""
    account = Account()
    views, rejects = [], []
    for columns, rejected in decode(io.BytesIO(data), account, record_bytes=record_bytes, **bounds):
        assert columns.product or rejected, "an empty batch"
        views += zip(
            columns.product, columns.time_ms, columns.message_id, columns.position, columns.offset, strict=True
        )
        rejects += rejected
    account.check("test")
    assert account.views == len(views)
    assert account.quarantined_records == sum(reject.position is None for reject in rejects)
    assert account.quarantined_events == sum(reject.position is not None for reject in rejects)
    times = [view[1] for view in views]
    assert (account.first_ms, account.last_ms) == (min(times, default=None), max(times, default=None))
    return Decoded(account, views, rejects)
