"""Spans of receiver and poller, as a collector receives them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tds_db import traces
from tds_db.errors import TdsError
from tests.commands import started as tds
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE, wait_until
from tests.poller.conftest import Poller
from tests.poller.conftest import environment as environment  # noqa: PLC0414 - a fixture
from tests.poller.conftest import poller as poller  # noqa: PLC0414
from tests.receiver.test_serve import Served

pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

TOKEN = "a-token-of-this-test"
PERSONAL = "Rana Al-Invented"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds until spans are sent


class Collector:
    """An OTLP collector: what it was sent, decoded."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") else body)
                told.paths.add(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[tuple[str, str, dict[str, Any], Any]]:
        """Service, name, attributes and the span itself, of each."""
        found = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        told = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
                        found.append((service, span.name, told, span))
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    made = Collector()
    yield made
    made.close()


def test_a_webhook_is_a_span_and_its_commit_another(
    database: Database, tmp_path: Path, collector: Collector
) -> None:
    served = Served(
        database.conninfo,
        tmp_path,
        ZOHO_WEBHOOK_TOKEN=TOKEN,
        TDS_TRACES_ENDPOINT=collector.url + "/",
        **QUICK,
    )
    try:
        with httpx.Client(base_url=served.url, trust_env=False, timeout=PATIENCE) as client:
            hook = "/api/zoho/webhooks/customers"
            body = {"contact": {"contact_id": "460000000026049", "contact_name": PERSONAL}}
            parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            answer = client.post(hook, json=body, headers={"X-TDS-Token": TOKEN, **parent})
            assert answer.status_code == 202
            assert client.post(hook, json=body, params={"token": "wrong-" + TOKEN}).status_code == 401
            assert client.post("/api/zoho/webhooks/rana_al_invented", json=body).status_code == 401
            assert client.request("PROPFIND", hook).status_code == 405
        wait_until(lambda: len(collector.spans()) == 5, "all spans are there")
    finally:
        served.stop()
    assert collector.paths == {"/v1/traces"}
    assert {service for service, *_ in collector.spans()} == {"tds-receiver"}
    [(stored, store)] = [(told, span) for _, name, told, span in collector.spans() if name == "store"]
    assert stored == {"tds.inbox_id": answer.json()["inbox_id"]}
    webhooks = [(told, span) for _, name, told, span in collector.spans() if name == "webhook"]
    assert sorted(
        (
            told["http.request.method"],
            told["tds.entity"],
            told["http.response.status_code"],
            told["tds.status"],
        )
        for told, _ in webhooks
    ) == [
        ("POST", "customers", 202, "queued"),
        ("POST", "customers", 401, "refused"),
        ("POST", "other", 401, "refused"),
        ("_OTHER", "customers", 405, "refused"),
    ]
    [parent_span] = [span for told, span in webhooks if told["http.response.status_code"] == 202]
    assert store.parent_span_id == parent_span.span_id
    assert store.trace_id == parent_span.trace_id
    assert parent_span.trace_id.hex() != "0af7651916cd43dd8448eb211c80319c"
    everything = b"".join(collector.bodies)
    for secret in (TOKEN, PERSONAL, "460000000026049", "Invented", "invented", "127.0.0.1"):
        assert secret.encode() not in everything


def test_what_is_asked_of_zoho_is_a_span(
    poller: Poller, environment: dict[str, str], collector: Collector
) -> None:
    standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "books"}
    done = tds(environment | standard, "pull", "taxes")
    assert done.returncode == 0, done.stderr
    spans = collector.spans()
    assert {service for service, *_ in spans} == {"books"}
    gets = {span.span_id: told for _, name, told, span in spans if name == "zoho.request"}
    assert "/settings/taxes" in {told["tds.endpoint"] for told in gets.values()}
    calls = [(told, span) for _, name, told, span in spans if name == "zoho.call"]
    assert len(calls) == sum(told["tds.calls"] for told in gets.values()) > 0
    for told, span in calls:
        assert (told["http.request.method"], told["http.response.status_code"]) == ("GET", 200)
        assert span.parent_span_id in gets
    everything = b"".join(collector.bodies)
    for name in ("ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN", "ZOHO_ORGANIZATION_ID"):
        assert environment[name].encode() not in everything


def test_an_error_is_told_by_its_class_alone(
    test_server: object, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_TRACES_ENDPOINT", collector.url + "/v1/traces")
    assert traces.start("receiver")
    with pytest.raises(ValueError, match="Invented"), traces.span("store"):
        raise ValueError(PERSONAL)
    traces.stop()
    [(_, name, told, span)] = collector.spans()
    assert (name, told, span.status.code, span.status.message) == (
        "store",
        {"error.type": "ValueError"},
        2,
        "",
    )
    assert PERSONAL.encode() not in b"".join(collector.bodies)


def test_off_nothing_is_loaded(test_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (traces.OWN, *traces.STANDARD):
        monkeypatch.delenv(name, raising=False)
    assert not traces.start("receiver")
    assert not traces.is_on()
    with traces.span("store") as made:
        made.tell({"tds.inbox_id": 1})
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not traces.start("receiver")


def test_what_is_missing_is_named(test_server: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDS_TRACES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(__import__("sys").modules, "tds_db.otlp", None)
    with pytest.raises(TdsError) as told:
        traces.start("receiver")
    assert "tds-mirror[traces]" in str(told.value.hint)
