"""Spans by OpenTelemetry's protocol, over HTTP. Loaded only where a collector is named: `tds_db.traces`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from tds_db.traces import Value
from tds_db.version import VERSION

PATH = "/v1/traces"
STOP_SECONDS = 3.0  # who stops waits no longer for a collector that does not answer


class Told:
    """A span of OpenTelemetry's."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """See `tds_db.traces.Span`."""
        self._span.set_attributes(attributes)


class Otlp:
    """Makes spans, and sends them from a thread of its own; what a slow collector leaves is dropped.

    Args:
        service: its name, unless OTEL_SERVICE_NAME says another.
        endpoint: base URL of the collector; None: OpenTelemetry's own variables name it.
    """

    def __init__(self, service: str, endpoint: str | None) -> None:
        # What the environment says wins.
        resource = Resource({SERVICE_NAME: service, "service.version": VERSION})
        given = Resource.create()
        if str(given.attributes.get(SERVICE_NAME)).startswith("unknown_service"):
            given = Resource({k: v for k, v in given.attributes.items() if k != SERVICE_NAME})
        self._provider = TracerProvider(resource=resource.merge(given), shutdown_on_exit=False)
        where = None if endpoint is None else endpoint.rstrip("/").removesuffix(PATH) + PATH
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=where)))
        self._tracer = self._provider.get_tracer("tds", VERSION)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value], *, serves: bool) -> Iterator[Told]:
        """See `tds_db.traces.span`."""
        kind = SpanKind.SERVER if serves else SpanKind.INTERNAL
        # The text of an error may quote a record: its class alone is told.
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as made:
            try:
                yield Told(made)
            except BaseException as error:
                made.set_attribute("error.type", type(error).__name__)
                made.set_status(Status(StatusCode.ERROR))
                raise

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """See `tds_db.traces.tell`."""
        trace.get_current_span().set_attributes(attributes)

    def stop(self) -> None:
        """See `tds_db.traces.Sender`."""
        # Its own bound on this is none for a collector that is away.
        last = Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(STOP_SECONDS)
