"""What operations see of the service: metrics for Prometheus, and a line of the access log for each request."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.tokens import Tokens
from serving.errors import ServiceError
from serving.load.sharing import lives
from serving.load.workload import Workload
from serving.reply.encode import ROWS
from serving.reply.problems import REFUSED
from serving.state.snapshot import Snapshot
from serving.state.store import Store
from serving.state.temporary import make_again

access_log = logging.getLogger("serving.access")

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus-client: the folder in which several workers sum their counts, so that each can tell all."""

_SOURCE = re.compile(r'source;desc="([^"]*)"')
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counts of one process, and the state of what it serves at the moment of asking."""

    def __init__(self) -> None:
        _keep_folder()
        self._registry = CollectorRegistry()
        self.seconds = Histogram(
            "ctr_request_seconds",
            "time until an answer was sent, by route and by where it came from",
            ("route", "source"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.requests = Counter(
            "ctr_requests", "answers by route and status", ("route", "status"), registry=self._registry
        )
        self.rows = Counter(
            "ctr_rows", "rows of answers; those of a stream that was cut are not counted", registry=self._registry
        )
        self.bytes = Counter("ctr_bytes", "bytes of bodies, as sent", ("route",), registry=self._registry)
        self.refusals = Counter(
            "ctr_refusals", "answers that were problems, by their code", ("code",), registry=self._registry
        )
        self._heavy = Counter(
            "ctr_heavy_answers",
            "answers to heavy requests: by the process that is there for them, or for want of it by the worker",
            ("by",),
            registry=self._registry,
        )
        for by in ("process", "worker"):
            self._heavy.labels(by)  # told from the start, as 0
        self.in_flight = Gauge(
            "ctr_requests_in_flight",
            "requests that are being answered, this one included",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._build = Gauge(
            "ctr_replica_build_seconds",
            "how long the last round of building the local copy took; 0 before the first since the start",
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self._built = 0.0

        # Of few values each; the library looks for a child by all of its labels under a lock.
        self._seconds_of: Callable[[str, str], Histogram] = lru_cache(1000)(self.seconds.labels)
        self._requests_of: Callable[[str, str], Counter] = lru_cache(1000)(self.requests.labels)
        self._bytes_of: Callable[[str], Counter] = lru_cache(1000)(self.bytes.labels)

    def count(self, route: str, source: str, status: int, sent: int, seconds: float) -> None:
        """Count an answer: where it came from, its status, the bytes of its body, and the time until it was sent."""
        self._seconds_of(route, source).observe(seconds)
        self._requests_of(route, str(status)).inc()
        self._bytes_of(route).inc(sent)

    def refused(self, code: str) -> None:
        """Count an answer that was a problem."""
        self.refusals.labels(code).inc()

    def answered_heavy(self, by: Literal["process", "worker"]) -> None:
        """Count an answer to a heavy request."""
        self._heavy.labels(by).inc()

    def built(self, seconds: float) -> None:
        """Note the last round of building of this process; what it told before counts once."""
        if seconds != self._built:
            self._built = seconds
            self._build.set(seconds)

    def text(self, store: Store, workload: Workload, tokens: Tokens | None) -> bytes:
        """All metrics in Prometheus' text form."""
        registry = CollectorRegistry()
        if MULTIPROCESS in os.environ:
            _keep_folder()
            _forget_dead(Path(os.environ[MULTIPROCESS]))
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(_Held(self._registry))
        registry.register(_State(store, workload, tokens))
        return generate_latest(registry)


def _keep_folder() -> None:
    """Make the folder of several workers again where somebody tidied it away: what they had counted until then is lost."""
    if MULTIPROCESS in os.environ:
        make_again(os.environ[MULTIPROCESS])


def _forget_dead(folder: Path) -> None:
    """Take the requests in flight of workers that were killed out of the sum: they did not end, but they are over."""
    for file in folder.glob("gauge_livesum_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not lives(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


class _Held(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._registry.collect()  # type: ignore[misc]


class _State(Collector):
    """Gauges of the process that is asked: what it serves and what goes on in it."""

    def __init__(self, store: Store, workload: Workload, tokens: Tokens | None) -> None:
        self._store = store
        self._workload = workload
        self._tokens = tokens

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, read now."""
        snapshot = self._store.snapshot
        work, cache = self._workload, self._store.cache
        healthy = snapshot is not None and self._store.problem is None
        yield GaugeMetricFamily("ctr_healthy", "1 while the newest publication is the one served", float(healthy))
        yield GaugeMetricFamily("ctr_queries_running", "light queries of this process that run", work.queries.running)
        yield GaugeMetricFamily(
            "ctr_queries_waiting", "requests of this process that wait for one", work.queries.waiting
        )
        yield GaugeMetricFamily(
            "ctr_heavy_queries_running", "heavy queries of this process that run", work.heavy.running
        )
        yield GaugeMetricFamily("ctr_heavy_queries_waiting", "requests that wait for one of these", work.heavy.waiting)
        yield GaugeMetricFamily(
            "ctr_openings_waiting", "requests that wait for an older publication to be opened", work.openings.waiting
        )
        yield GaugeMetricFamily("ctr_streams_running", "streamed answers of this process", work.streams.running)
        yield GaugeMetricFamily("ctr_cache_bytes", "finished answers kept by this process", cache.bytes)
        yield GaugeMetricFamily("ctr_cache_hits", "answers that this process took from its cache", cache.hits)
        yield GaugeMetricFamily("ctr_cache_misses", "answers that were not in its cache", cache.misses)
        if self._store.replica is not None:
            yield GaugeMetricFamily(
                "ctr_replica_discarded",
                "files of the local copy that this process found broken",
                self._store.replica.discarded,
            )
        if self._tokens is not None and self._tokens.keys.read_at is not None:
            age = monotonic() - self._tokens.keys.read_at
            yield GaugeMetricFamily("ctr_jwks_age_seconds", "time since the keys that sign JWTs were read", age)
        if snapshot is None:
            return
        yield from self._replica(snapshot)
        now = datetime.now(timezone.utc)
        published = (now - snapshot.publication.published_at).total_seconds()
        yield GaugeMetricFamily("ctr_data_version", "number of the publication served", snapshot.version)
        yield GaugeMetricFamily("ctr_publication_age_seconds", "time since it was published", published)
        ages = GaugeMetricFamily("ctr_watermark_age_seconds", "time since the watermark", labels=("platform", "source"))
        for facts in snapshot.platforms.values():
            for source, mark in (("views", facts.views_watermark), ("purchases", facts.purchases_watermark)):
                if mark is not None:
                    ages.add_metric((facts.platform, source), (now - mark).total_seconds())
        yield ages

    def _replica(self, snapshot: Snapshot) -> Iterator[GaugeMetricFamily]:
        """How much of the local copy there is, and how old; nothing where none is kept."""
        state = self._store.replica_state(snapshot)
        if state is None or not state.wanted:
            return
        yield GaugeMetricFamily(
            "ctr_replica_segments_wanted", "segments of a whole local copy of the publication served", state.wanted
        )
        yield GaugeMetricFamily("ctr_replica_segments_held", "segments of it that answer", state.held)
        yield GaugeMetricFamily("ctr_replica_complete_ratio", "held of wanted segments", state.held / state.wanted)
        if state.made_at is not None:
            yield GaugeMetricFamily(
                "ctr_replica_age_seconds", "time since the newest segment held was made", time() - state.made_at
            )


class Observe:
    """Counts each request, and logs it as one line of JSON: never its key, and never its query."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._paths = paths
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, sent, whole = perf_counter(), 0, 0, False
        headers: dict[bytes, bytes] = {}

        async def send_counted(message: Message) -> None:
            nonlocal status, sent, whole, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], dict(message["headers"])
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            status = status or 500  # so it is answered, if nothing was sent yet
            scope["state"].setdefault(REFUSED, ServiceError.code)
            raise
        finally:
            self._metrics.in_flight.dec()
            self._note(scope, status, headers, sent, whole, perf_counter() - began)

    def _note(
        self, scope: Scope, status: int, headers: dict[bytes, bytes], sent: int, whole: bool, seconds: float
    ) -> None:
        route = scope["path"] if scope["path"] in self._paths else "other"  # one label, whatever clients make up
        timing = headers.get(b"server-timing", b"").decode()
        found = _SOURCE.search(timing)
        source = "cache" if "cache;" in timing else found[1] if found else "none"
        told = headers.get(b"x-row-count")
        rows: int | None = int(told) if told is not None else scope["state"].get(ROWS)
        self._metrics.count(route, source, status, sent, seconds)
        if REFUSED in scope["state"]:
            self._metrics.refused(scope["state"][REFUSED])
        if rows is not None and status == 200:
            self._metrics.rows.inc(rows)
        version = headers.get(b"x-data-version")
        caller = scope["state"].get("caller")
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "requestId": scope["state"]["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "whole": whole,
            "ms": round(seconds * 1000, 1),
            "rows": rows,
            "bytes": sent,
            "source": source,
            "dataVersion": version.decode() if version else None,
            "key": caller.id if caller else None,
        }
        access_log.info("%s", json.dumps(line))
