"""What Schemathesis cannot know from the OpenAPI document, which can say how a time is written, but not which times there are.

Of requests that are meant to be valid, times are put in order, into the days of the lake, and zones that there are not replaced.
Requests that are meant to be invalid are left as they are.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

from serving.request.times import zones

_ZONES = ("UTC", "America/Sao_Paulo", "Asia/Kolkata")


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    meta = case.meta
    if case.operation.path != "/v1/ctr" or meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return
    for values in (case.query, case.body):
        if isinstance(values, dict) and {"startTimestamp", "endTimestamp"} <= set(values):
            _make_sense(values)


def _make_sense(values: dict[str, Any]) -> None:
    chance = int.from_bytes(hashlib.sha256(repr(sorted(values.items())).encode("utf-8", "replace")).digest(), "big")
    if values.get("timezone", "UTC") not in zones():
        values["timezone"] = _ZONES[chance % len(_ZONES)]
    start = datetime(2016, 2, 1) + timedelta(seconds=chance % (7 * 86_400))
    end = start + timedelta(seconds=1 + chance // 7 % 86_400)
    for name, time in (("startTimestamp", start), ("endTimestamp", end)):
        values[name] = time.strftime("%Y-%m-%d %H:%M:%S")
