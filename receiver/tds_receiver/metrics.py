"""What a receiver counts of its own requests, for Prometheus.

A process counts for itself. Where several serve one address, PROMETHEUS_MULTIPROC_DIR names an empty
directory that they share (`tds serve --processes` makes one); whichever of them is asked answers for all.
"""

import asyncio
import os
import platform
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tds_db.version import VERSION

disable_created_metrics()  # type: ignore[no-untyped-call]

BEAT_SECONDS = 0.1  # how often the loop is asked whether it has time
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Whoever sends may name any entity: the others share one label, so that nobody can make labels without end.
ENTITIES = frozenset(
    [
        "products",
        "customers",
        "vendors",
        "invoices",
        "bills",
        "credit_notes",
        "vendor_credits",
        "sales_orders",
        "payments",
        "vendor_payments",
        "stock",
        "stock_adjustments",
        "prices",
        "pricelists",
        "currencies",
        "taxes",
        "warehouses",
        "organizations",
    ]
)


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._accepted = Counter(
            "tds_webhooks_accepted_total",
            "Webhooks acknowledged after their commit, by status: queued, duplicate, rejected.",
            ["entity", "status"],
            registry=self._registry,
        )
        self._refused = Counter(
            "tds_webhooks_refused_total",
            "Webhooks that were not stored, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tds_webhook_seconds",
            "Time from a webhook's headers to its answer, in seconds.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._late = Histogram(
            "tds_receiver_loop_late_seconds",
            "How late the receiver's loop came to a beat that it owes every 0.1 seconds.",
            buckets=BUCKETS,
            registry=self._registry,
        )

    async def watch_loop(self) -> None:
        """Counts how late the loop comes to a beat that it owes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._late.observe(max(0.0, loop.time() - due))

    def accepted(self, entity: str, status: str, seconds: float) -> None:
        """A webhook was acknowledged.

        Args:
            entity: what it is about.
            status: queued, duplicate or rejected.
            seconds: how long it took.
        """
        self._accepted.labels(entity if entity in ENTITIES else "other", status).inc()
        self._seconds.observe(seconds)

    def refused(self, reason: str) -> None:
        """A webhook was not stored.

        Args:
            reason: one of few, for example `unauthorized` or `service_unavailable`.
        """
        self._refused.labels(reason).inc()

    def answered(self, entity: str, code: int, status: str, seconds: float) -> None:
        """A webhook was answered, however that was.

        Args:
            entity: what it is about.
            code: HTTP status.
            status: queued, duplicate or rejected; anything else where it was not stored.
            seconds: how long it took.
        """
        if code == HTTPStatus.ACCEPTED:
            self.accepted(entity, status, seconds)
        else:
            self.refused(HTTPStatus(code).phrase.lower().replace(" ", "_"))

    def text(self, snapshot: Mapping[str, Any] | None) -> bytes:
        """Everything in Prometheus' text format.

        Args:
            snapshot: what `tds.metrics()` says; None: the database cannot be asked.
        """
        own = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            own = CollectorRegistry()
            MultiProcessCollector(own)  # type: ignore[no-untyped-call]
        database = CollectorRegistry()
        database.register(DatabaseMetrics(snapshot))
        return generate_latest(own) + generate_latest(database)


class Family(NamedTuple):
    """How rows of the database's snapshot become one metric."""

    name: str
    told: str
    key: str
    """Where the rows are."""
    value: str
    """Which of a row's values it is; a row without one is left out."""
    labels: tuple[str, ...] = ()
    """Which of them are labels."""
    is_counter: bool = False


FAMILIES = (
    Family(
        "tds_health_state",
        "State of all when it was last looked at: 0 ok, 1 warning, 2 critical, 3 unknown.",
        "health",
        "state",
    ),
    Family("tds_health_looked_timestamp_seconds", "When it was last looked at.", "health", "looked_at"),
    Family(
        "tds_health_check_state",
        "State of a check when it was last looked at: 0 ok, 1 warning, 2 critical, 3 unknown.",
        "checks",
        "state",
        ("check", "area"),
    ),
    Family(
        "tds_health_check_value",
        "What a check found, in its unit.",
        "checks",
        "value",
        ("check", "area", "unit"),
    ),
    Family(
        "tds_queue_events",
        "Events not finished, by entity and status: pending, processing, failed (parked for another try).",
        "open",
        "events",
        ("entity", "status"),
    ),
    Family(
        "tds_events_finished_total",
        "Events finished: completed, or dead_letter, of which nothing could be used.",
        "finished",
        "events",
        ("entity", "status"),
        is_counter=True,
    ),
    Family(
        "tds_delay_average_seconds",
        "From a webhook to its outcome, on average of this hour and the last.",
        "delays",
        "average",
        ("entity",),
    ),
    Family(
        "tds_delay_p99_seconds",
        "The same: what 99 of 100 took at most.",
        "delays",
        "p99",
        ("entity",),
    ),
    Family(
        "tds_delay_webhooks",
        "Webhooks that the delays were measured with.",
        "delays",
        "events",
        ("entity",),
    ),
    Family(
        "tds_details_failed",
        "Details wanted that were asked for in vain so far.",
        "wants",
        "failed",
        ("entity",),
    ),
    Family("tds_job_enabled", "Whether a job is switched on.", "jobs", "enabled", ("job_name",)),
    Family("tds_job_running", "Whether a job is running.", "jobs", "running", ("job_name",)),
    Family(
        "tds_job_failed", "Whether the last run of a job failed or was lost.", "jobs", "failed", ("job_name",)
    ),
    Family(
        "tds_job_last_success_timestamp_seconds",
        "When the last run of a job began that was done.",
        "jobs",
        "success_at",
        ("job_name",),
    ),
    Family("tds_job_duration_seconds", "How long that run took.", "jobs", "seconds", ("job_name",)),
    Family(
        "tds_programs",
        "Programs that did their work within the last minute.",
        "programs",
        "programs",
        ("kind",),
    ),
    Family(
        "tds_database_size_bytes",
        "Size of the database when the health was last looked at.",
        "database",
        "bytes",
    ),
    Family(
        "tds_schema_info", "The newest migration of the database's schema.", "schema", "is", ("migration",)
    ),
    Family(
        "tds_api_calls_limit_day",
        "Calls of Zoho's API that the plan allows a day, once it has told.",
        "limits",
        "day_limit",
        ("organization",),
    ),
    Family(
        "tds_api_calls_total",
        "Calls of Zoho's API that ended, by purpose and outcome; begins anew each day (UTC).",
        "spent",
        "calls",
        ("organization", "purpose", "outcome"),
        is_counter=True,
    ),
)


class DatabaseMetrics(Collector):
    """How it stands in the database.

    Args:
        snapshot: what `tds.metrics()` says; None: the database cannot be asked.
    """

    def __init__(self, snapshot: Mapping[str, Any] | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        build = GaugeMetricFamily(
            "tds_build_info", "The program and its Python.", labels=["version", "python"]
        )
        build.add_metric([VERSION, platform.python_version()], 1)
        yield build
        up = GaugeMetricFamily("tds_database_up", "Whether the database could be asked.")
        up.add_metric([], float(self._snapshot is not None))
        yield up
        if self._snapshot is None:
            return
        yield from self._by_name()
        # A database that is older than this program tells less.
        for family in FAMILIES:
            made = (CounterMetricFamily if family.is_counter else GaugeMetricFamily)(
                family.name, family.told, labels=family.labels
            )
            for row in self._snapshot.get(family.key, ()):
                if row[family.value] is not None:
                    made.add_metric([str(row[label]) for label in family.labels], row[family.value])
            yield made

    def _by_name(self) -> Iterable[Metric]:
        """What the snapshot tells by name."""
        snapshot = self._snapshot or {}
        for name, key, label, told in (
            ("tds_events", "events", "status", "Events by status, the whole history."),
            ("tds_dead_letters", "dead_letters", "entity", "Dead letters that wait for somebody."),
            ("tds_details_wanted", "details", "entity", "Details to be read from the API."),
            ("tds_runs_open", "runs", "state", "Pulls that have not ended."),
        ):
            family = GaugeMetricFamily(name, told, labels=[label])
            for value, count in snapshot[key].items():
                family.add_metric([value], count)
            yield family
        depth = GaugeMetricFamily("tds_queue_depth", "Events not finished.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "tds_queue_oldest_seconds",
            "Age of the oldest event that waits for a worker, without those parked for another try.",
            labels=["queue"],
        )
        for queue, state in snapshot["queues"].items():
            depth.add_metric([queue], state["depth"])
            oldest.add_metric([queue], state["oldest_seconds"])
        yield depth
        yield oldest
        for name, key, told in (
            (
                "tds_api_calls_left_today",
                "left_today",
                "Calls of Zoho's API left of the day's, once it has told.",
            ),
            ("tds_api_calls_left_minute", "left_this_minute", "Calls that may begin now."),
            ("tds_api_paused_seconds", "paused_seconds", "How long nobody may call, for Zoho's limits."),
        ):
            family = GaugeMetricFamily(name, told, labels=["organization"])
            for organization, budget in snapshot["calls"].items():
                if budget[key] is not None:
                    family.add_metric([organization], budget[key])
            yield family
