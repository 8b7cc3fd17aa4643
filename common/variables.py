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
"""Settings of the jobs."""

SERVICE = (
    "allow_unauthenticated", "api_keys_file", "body_bytes", "buckets", "cache_bytes", "connections", "cors_origins",
    "docs", "download_rows", "filter_products", "header_bytes", "heavy_process", "heavy_queries", "heavy_rows",
    "host", "json_rows", "jwt_algorithms", "jwt_audience", "jwt_issuer", "jwt_jwks", "jwt_leeway_seconds",
    "jwt_nbf_required", "jwt_platforms_claim", "jwt_refresh_seconds", "jwt_retry_seconds", "key_guesses",
    "key_requests", "lake", "older_publications", "poll_seconds", "port", "queries", "query_memory", "query_seconds",
    "query_spill", "query_threads", "queue", "queue_seconds", "range_days", "replica", "replica_folder",
    "replica_memory", "replica_minute_days", "request_seconds", "stall_seconds", "stop_seconds", "stream_rows",
    "stream_seconds", "streams", "trusted_proxies", "url_bytes", "workers",
)  # fmt: skip
"""Settings of the service. Both sides may find those of the other in the environment that they share."""

OTHERS = ("conf", "key", "url", "fault_rounds", "schema_cases")
"""The file of settings; what a copied request, the notebook and the tests read."""

_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT(_\d+_(TCP|UDP|SCTP)(_|$)|$)")
"""Kubernetes and Docker's links set these for a service whose name begins with ``ctr``."""


def unknown_variables(names: Iterable[str]) -> list[str]:
    """A line for each name that begins with ``CTR_`` and is no setting of jobs or service, and of no other part of the product.

    One in small letters is none either: only some of those who read settings would take it.
    """
    known = [f"CTR_{name.upper()}" for name in (*JOBS, *SERVICE, *OTHERS)]
    return [
        f"{name}: no such setting{_nearest(name, known)} (see the table of settings in README.md)"
        for name in sorted(names)
        if name not in known
        and (name.upper() in known or (name.startswith("CTR_") and not _OF_KUBERNETES.search(name)))
    ]


def _nearest(name: str, known: list[str]) -> str:
    found = get_close_matches(name.upper(), known, n=1)
    return f", the nearest is {found[0]}" if found else ""
