"""The names of ``CTR_*`` variables: one that nothing reads is mostly a misspelt setting, and must not be passed over in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

JOBS = (
    "batch_bytes", "behind_days", "columns", "compact_bytes", "device_aliases", "events", "excluded_statuses",
    "fatal_limits", "keep_days", "keep_publications", "lake", "lock_wait_seconds", "order_items_table",
    "orders_table", "orders_timezone", "purchases_days", "purchases_lost_limit", "purchases_password",
    "purchases_url", "purchases_user", "quarantine_days", "quarantine_limit", "record_bytes", "retired_platforms",
    "task_bytes", "unfinished_names", "vacuum_grace_hours", "views_limit", "young_seconds",
)  # fmt: skip
"""Settings of the jobs, which the service may find in the environment that they share."""

OTHERS = ("conf", "key", "url", "fault_rounds", "schema_cases")
"""The file of settings; what a copied request, the notebook and the tests read."""

_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT(_\d+_(TCP|UDP|SCTP)(_|$)|$)")
"""Kubernetes and Docker's links set these for a service whose name begins with ``ctr``."""


def unknown_variables(names: Iterable[str], settings: Iterable[str]) -> list[str]:
    """A line for each name that begins with ``CTR_`` and is none of these settings or of another part of the product.

    One in small letters is none either: only some of those who read settings would take it.
    """
    known = [f"CTR_{name.upper()}" for name in (*settings, *JOBS, *OTHERS)]
    return [
        f"{name}: no such setting{_nearest(name, known)} (see the table of settings in README.md)"
        for name in sorted(names)
        if name not in known
        and (name.upper() in known or (name.startswith("CTR_") and not _OF_KUBERNETES.search(name)))
    ]


def _nearest(name: str, known: list[str]) -> str:
    found = get_close_matches(name.upper(), known, n=1)
    return f", the nearest is {found[0]}" if found else ""
