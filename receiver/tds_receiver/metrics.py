"""What a receiver counts of its own requests, for Prometheus.

A process counts for itself. Where several serve one address, PROMETHEUS_MULTIPROC_DIR names an empty
directory that they share (`tds serve --processes` makes one); whichever of them is asked answers for all.
"""

import os
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]

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


class DatabaseMetrics(Collector):
    """How it stands in the database, as gauges.

    Args:
        snapshot: what `tds.metrics()` says; None: the database cannot be asked.
    """

    def __init__(self, snapshot: Mapping[str, Any] | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        up = GaugeMetricFamily("tds_database_up", "Whether the database could be asked.")
        up.add_metric([], float(self._snapshot is not None))
        yield up
        if self._snapshot is None:
            return
        for name, key, label, told in (
            ("tds_events", "events", "status", "Events by status, the whole history."),
            ("tds_dead_letters", "dead_letters", "entity", "Dead letters that wait for somebody."),
            ("tds_details_wanted", "details", "entity", "Details to be read from the API."),
            ("tds_runs_open", "runs", "state", "Pulls that have not ended."),
        ):
            family = GaugeMetricFamily(name, told, labels=[label])
            for value, count in self._snapshot[key].items():
                family.add_metric([value], count)
            yield family
        depth = GaugeMetricFamily("tds_queue_depth", "Events not finished.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "tds_queue_oldest_seconds",
            "Age of the oldest event that waits for a worker, without those parked for another try.",
            labels=["queue"],
        )
        for queue, state in self._snapshot["queues"].items():
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
            for organization, budget in self._snapshot["calls"].items():
                if budget[key] is not None:
                    family.add_metric([organization], budget[key])
            yield family
