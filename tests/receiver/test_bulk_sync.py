"""The bulk-sync API and the operations' routes over HTTP, with a real database and the sandbox."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tds_receiver.settings import ReceiverSettings
from tests.commands import tds
from tests.db.servers import Database, TestServer
from tests.journeys.waiting import wait_until
from tests.poller.conftest import Poller, small_sandbox
from tests.poller.test_migrate import compared
from tests.receiver.conftest import Receive, is_ready, serving

# The SQL is tried on every server in tests/sql; what is tried here is the program.
pytestmark = pytest.mark.parametrize("test_server", ["pg18"], indirect=True)

ORGANIZATION = "748139205"
BULK = "/api/zoho/bulk-sync"
OWN_KEY = "the operator's own key"


def execute(database: Database, query: str, *parameters: Any) -> list[Any]:
    """Runs a statement as the superuser."""
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def api(receiver: Receive, database: Database) -> httpx.Client:
    """A client with a key."""
    client = receiver(organization_id=ORGANIZATION)
    [(key,)] = execute(database, "select tds.create_api_key('ERP')")
    client.headers["Authorization"] = f"Bearer {key}"
    return client


@pytest.fixture
def as_receiver(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client with the environment's key, of a receiver that has its own role and no other."""
    monkeypatch.setenv("TDS_API_KEY", OWN_KEY)
    user = f"receiver_of_{conninfo_to_dict(database.conninfo)['dbname']}"
    execute(database, f"create role {user} login password 'secret' in role tds_receiver")
    made = ReceiverSettings(organization_id=ORGANIZATION, connections=1)
    try:
        with serving(database.dsn(user=user, password="secret"), made) as client:
            client.headers["X-API-Key"] = OWN_KEY
            yield client
    finally:
        execute(database, f"drop role {user}")


def test_a_pull_over_http_ends_in_the_rows(api: httpx.Client, database: Database) -> None:
    with small_sandbox() as sandbox:
        poller = Poller(sandbox, database)
        assert sandbox.organisation.organization_id == ORGANIZATION
        asked: dict[str, httpx.Response] = {}
        for entity, options in {
            "products": {"incremental": True, "batch_size": 100},
            "customers": {"include_addresses": True},
            "invoices": {"include_line_items": True, "batch_size": 7},
            "stock": {"update_only": True},
            "pricelists": {"include_item_prices": True},
            "bills": {"modified_since": "2020-01-01"},
        }.items():
            asked[entity] = api.post(f"{BULK}/{entity}", json=options)
            assert asked[entity].status_code == 202, asked[entity].text
        first = asked["products"].json()
        assert first == {
            "run_id": first["run_id"],
            "status": "queued",
            "url": f"{BULK}/runs/{first['run_id']}",
        }
        assert asked["products"].headers["location"] == first["url"]
        again = api.post("/api/tds/bulk-sync/products", json={"batch_size": 100, "incremental": True})
        assert again.json()["run_id"] == first["run_id"]
        assert again.json()["url"] == f"/api/tds/bulk-sync/runs/{first['run_id']}"
        environment = {"TDS_DATABASE_URL": database.conninfo, "ZOHO_MINUTE_SECONDS": "0.1", "PATH": ""}
        done = tds(environment | sandbox.environment, "poll", "--once", "--no-images")
        assert done.returncode == 0, done.stderr
        shown = {entity: api.get(answer.json()["url"]).json() for entity, answer in asked.items()}
        assert {run["state"] for run in shown.values()} == {"complete"}
        assert {run["progress"] for run in shown.values()} == {1.0}
        assert sum(run["calls"] for run in shown.values()) == sum(
            count for path, count in sandbox.ledger.by_path.items() if path.startswith("GET")
        )
        assert (shown["products"]["pages"], shown["invoices"]["pages"]) == (5, 3)
        assert shown["invoices"]["details_fetched"] == 20
        assert shown["customers"]["requested_by"] == "API key ERP"
        differences = {
            name: compared(poller)[name].differences for name in ("products", "customers", "invoices")
        }
        assert differences == {"products": [], "customers": [], "invoices": []}


def test_every_option_is_its_entitys_own(api: httpx.Client) -> None:
    refused = {
        "products": ({"include_line_items": True}, "include_line_items", "it has no line items"),
        "customers": ({"batch_size": 201}, "batch_size", "less than or equal to 200"),
        "invoices": ({"modified_since": "yesterday"}, "modified_since", "should match pattern"),
        "stock": ({"incremental": True}, "incremental", "stock moves without a new last_modified_time"),
        "pricelists": ({"pricelist_ids": ["1"] * 201}, "pricelist_ids", "at most 200 items"),
        "bills": ({"modified_since": "2026-02-30"}, "modified_since", "must be a date"),
    }
    for entity, (options, path, reason) in refused.items():
        answer = api.post(f"{BULK}/{entity}", json=options)
        assert answer.status_code == 422, entity
        assert (answer.json()["status"], answer.json()["path"]) == ("refused", path)
        assert reason in answer.json()["reason"]
    answer = api.post(f"{BULK}/stock", json={"colour": "blue"})
    assert answer.json()["reason"] == "there is no such option"
    assert answer.json()["hint"] == "options of stock: batch_size, update_only, warehouses"
    answer = api.post(f"{BULK}/bills", json={"incremental": False, "modified_since": "2026-01-01"})
    assert answer.json()["reason"] == "asks for an incremental pull, and incremental is false"
    assert answer.json()["hint"].startswith("options of bills: ")
    assert (
        api.post(f"{BULK}/bills", content=b"{", headers={"Content-Type": "application/json"}).status_code
        == 422
    )
    assert api.post(f"{BULK}/bills", content=b"x" * 70_000).status_code == 413
    assert api.post(f"{BULK}/bills", params={"organization_id": "a b"}).status_code == 422
    assert api.post(f"{BULK}/sheep").json() == {"status": "refused", "reason": "Not Found"}
    assert api.get(f"{BULK}/runs").json() == {"runs": [], "next": None}


ALIASES = {
    "items": "products",
    "contacts": "customers",
    "creditnotes": "credit_notes",
    "credit-notes": "credit_notes",
    "customerpayments": "payments",
    "vendorpayments": "vendor_payments",
    "vendorcredits": "vendor_credits",
    "pricebooks": "pricelists",
    "salesorders": "sales_orders",
    "orders": "sales_orders",
    "vendors": "vendors",
    "Sales-Orders": "sales_orders",
}


def test_a_pull_is_also_asked_for_by_the_names_that_zoho_has(api: httpx.Client, database: Database) -> None:
    runs: dict[str, int] = {}
    for name, entity in ALIASES.items():
        answer = api.post(f"{BULK}/{name}", json={})
        assert answer.status_code == 202, answer.text
        run = api.get(answer.json()["url"]).json()
        assert run["entity"] == entity
        assert runs.setdefault(entity, run["run_id"]) == run["run_id"], "the same wish"
    assert api.post(f"{BULK}/products").json()["run_id"] == runs["products"]
    # with the options of the entity, and without any body at all
    answer = api.post(f"{BULK}/contacts", json={"include_addresses": False, "batch_size": 50})
    assert api.get(answer.json()["url"]).json()["options"] == {"include_addresses": False, "batch_size": 50}
    assert api.post(f"{BULK}/pricebooks", json={"pricelist_ids": []}).json()["run_id"] == runs["pricelists"]
    assert api.post(f"{BULK}/salesorders").json()["run_id"] == runs["sales_orders"]
    for name, options, path in (
        ("orders", {"warehouses": ["1"]}, "warehouses"),
        ("contacts", {"batch_size": 0}, "batch_size"),
        ("items", {"colour": "blue"}, "colour"),
        ("items", {"modified_since": "yesterday"}, "modified_since"),
    ):
        answer = api.post(f"{BULK}/{name}", json=options)
        assert (answer.status_code, answer.json()["path"]) == (422, path)
        assert answer.json()["hint"].startswith("options of ")
    assert api.post(f"{BULK}/items", json=["x"]).status_code == 422
    assert api.post(f"{BULK}/sheep", json={}).status_code == 404
    assert execute(database, "select tds.request_pull('items', '{}', %s)", ORGANIZATION) == [
        (runs["products"],)
    ]


MOMENTS = {
    None: None,
    "2026-01-31": "2026-01-31T00:00:00+00:00",
    "2026-01-31T08:00:00+03:00": "2026-01-31T05:00:00+00:00",
    "2026-01-31T08:00:00Z": "2026-01-31T08:00:00+00:00",
}


@pytest.mark.parametrize("name", ["invoices", "products", "customers", "bills", "items", "creditnotes"])
def test_modified_since_is_nothing_a_day_or_a_time(api: httpx.Client, name: str) -> None:
    for moment, since in MOMENTS.items():
        for incremental in ({}, {"incremental": moment is not None}):
            answer = api.post(f"{BULK}/{name}", json={**incremental, "modified_since": moment})
            assert answer.status_code == 202, answer.text
            options = api.get(answer.json()["url"]).json()["options"]
            assert options == ({} if since is None else {"incremental": True, "modified_since": since})


def test_a_pull_of_an_organisation_that_cannot_be_told_is_refused(
    receiver: Receive, database: Database
) -> None:
    client = receiver(organization_id=None)
    [(key,)] = execute(database, "select tds.create_api_key('ERP')")
    answer = client.post(f"{BULK}/products", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["status"]) == (422, "refused")
    assert "organisation unknown" in answer.json()["reason"]
    assert execute(database, "select count(*) from tds.run") == [(0,)]


def test_a_slow_body_is_not_waited_for(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tds_receiver.api.guard.BODY_SECONDS", 0.2)

    def slowly() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.5)
        yield b"}"

    answer = api.post(f"{BULK}/products", content=slowly(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (408, "refused")


def test_runs_are_listed_and_cancelled(api: httpx.Client, database: Database) -> None:
    ids = [api.post(f"{BULK}/{entity}").json()["run_id"] for entity in ("products", "bills", "stock")]
    page = api.get(f"{BULK}/runs", params={"limit": 2}).json()
    assert ([run["run_id"] for run in page["runs"]], page["next"]) == (ids[:0:-1], ids[1])
    page = api.get(f"{BULK}/runs", params={"limit": 2, "before": page["next"]}).json()
    assert ([run["run_id"] for run in page["runs"]], page["next"]) == (ids[:1], None)
    assert [r["entity"] for r in api.get(f"{BULK}/runs", params={"entity": "bills"}).json()["runs"]] == [
        "bills"
    ]
    assert api.post(f"{BULK}/runs/{ids[0]}/cancel").json()["state"] == "cancelled"
    assert api.delete(f"{BULK}/runs/{ids[1]}").json()["state"] == "cancelled"
    cancelled = api.get(f"{BULK}/runs", params={"state": "cancelled"}).json()["runs"]
    assert [run["run_id"] for run in cancelled] == ids[1::-1]
    assert api.get(f"{BULK}/runs", params={"state": "asleep"}).status_code == 422
    missing = api.get(f"{BULK}/runs/{2**62}")
    assert (missing.status_code, missing.json()["reason"]) == (404, f"no such run: {2**62}")
    assert api.get(f"{BULK}/runs/{2**63}").status_code == 422


def test_without_a_key_nothing_is_told(receiver: Receive, database: Database, api: httpx.Client) -> None:
    key = api.headers.pop("Authorization").removeprefix("Bearer ")
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert api.get(f"{BULK}/runs", headers={"X-API-Key": key}).status_code == 200
    assert api.get(f"{BULK}/runs", headers={"Authorization": f"bearer {key}"}).status_code == 200
    for headers in (
        {},
        {"X-API-Key": wrong},
        {"X-API-Key": OWN_KEY},
        {"Authorization": f"Basic {key}"},
        {"Authorization": "Bearer"},
        {"X-API-Key": "ü"},
    ):
        for path, body in ((f"{BULK}/products", b"{"), ("/api/tds/bulk-sync/nowhere", b"")):
            sent = {name.encode(): value.encode() for name, value in headers.items()}
            answer = api.post(path, content=body, headers=sent)
            assert (answer.status_code, answer.json()) == (
                401,
                {"status": "refused", "reason": "Unauthorized"},
            )
            assert answer.headers["www-authenticate"] == "Bearer"
    execute(database, "select tds.revoke_api_key('ERP')")
    assert api.get(f"{BULK}/runs", headers={"X-API-Key": key}).status_code == 401


def test_the_receivers_own_role_and_the_environments_key_are_enough(
    as_receiver: httpx.Client, database: Database
) -> None:
    for name in ("tds.setting", "tds.run", "tds.api_key", "zoho.products"):
        query = "select has_table_privilege(rolname, %s, 'select') from pg_roles where rolname like 'receiver_of_%%'"
        assert execute(database, query, name) == [(False,)]
    answer = as_receiver.post(f"{BULK}/stock", json={"warehouses": ["1"]})
    assert answer.status_code == 202
    assert as_receiver.get(answer.json()["url"]).json()["requested_by"] == "API key TDS_API_KEY"
    assert "<td>stock</td>" in as_receiver.get("/dashboard").raise_for_status().text
    assert as_receiver.delete(answer.json()["url"]).json()["state"] == "cancelled"
    assert is_ready(as_receiver)
    assert "tds_database_up 1.0" in as_receiver.get("/metrics").text
    assert as_receiver.get(f"{BULK}/runs", headers={"X-API-Key": OWN_KEY + "x"}).status_code == 401
    assert as_receiver.post("/api/zoho/webhooks/products", json={"item": {"item_id": "1"}}).status_code == 202


def test_bulk_sync_is_off_while_webhooks_go_on(api: httpx.Client, database: Database) -> None:
    execute(database, "update tds.setting set value = 'false' where name = 'bulk_sync_enabled'")
    execute(database, """update tds.setting set value = '"rolled back"' where name = 'bulk_sync_reason'""")
    answer = api.post(f"{BULK}/products")
    assert (answer.status_code, answer.json()) == (503, {"status": "refused", "reason": "rolled back"})
    assert answer.headers["retry-after"] == "5"
    assert api.post("/api/zoho/webhooks/products", json={"item": {"item_id": "1"}}).status_code == 202
    assert api.get(f"{BULK}/runs").status_code == 200
    execute(database, "update tds.setting set value = 'true' where name = 'bulk_sync_enabled'")
    assert api.post(f"{BULK}/products").status_code == 202


def test_ready_says_which_part_is_not(api: httpx.Client, database: Database) -> None:
    assert is_ready(api)
    path = "functions/70_fetch/pulls.sql"
    execute(database, "update tds.sql_file set sha256 = 'older' where path = %s", path)
    answer = api.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    told = f"{path} differ from this program's: tds db upgrade"
    assert answer.json() == {"status": "unavailable", "failed": {"schema": told}}
    execute(database, "drop table pgmq.q_tds_pull")
    execute(database, "delete from tds.migration where id like '0010%%'")
    assert api.get("/readyz").json()["failed"]["queue"] == "tds_pull cannot be reached"
    assert "migrations/0010_pull_requests.sql" in api.get("/readyz").json()["failed"]["schema"]
    assert api.get("/healthz").json() == {"status": "ok"}


def test_an_older_receiver_is_ready_after_an_upgrade_unless_that_breaks_it(
    api: httpx.Client, database: Database
) -> None:
    assert is_ready(api)
    # functions of a later upgrade
    execute(database, "update tds.sql_file set sha256 = 'newer', applied_at = clock_timestamp()")
    assert "newer than this program" in api.get("/readyz").json()["note"]
    # a migration that this program does not know, and one that it cannot live with
    execute(database, "insert into tds.migration (id, content_hash) values ('9998_more', 'x')")
    assert "newer than this program" in api.get("/readyz").json()["note"]
    execute(
        database,
        "insert into tds.migration (id, content_hash, breaking) values ('9999_other', 'x', 'no receive() any more')",
    )
    told = api.get("/readyz")
    assert told.status_code == 503
    assert told.json()["failed"]["schema"] == (
        "migrations/9999_other.sql breaks this program (no receive() any more): start the newer one"
    )


def test_a_receiver_that_starts_on_a_newer_database_is_ready(database: Database, receiver: Receive) -> None:
    execute(database, "update tds.sql_file set sha256 = 'newer', applied_at = clock_timestamp()")
    execute(database, "insert into tds.migration (id, content_hash) values ('9998_more', 'x')")
    client = receiver()
    assert not is_ready(client)
    assert "newer than this program" in client.get("/readyz").json()["note"]


def samples(text: str) -> dict[tuple[str, str], float]:
    """The values of a page of metrics, by name and labels."""
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_what_was_done(api: httpx.Client, database: Database) -> None:
    hook = "/api/zoho/webhooks/products"
    for body in (b'{"item": {"item_id": "1"}}', b'{"item": {"item_id": "1"}}', b"{"):
        assert api.post(hook, content=body).status_code == 202
    assert api.post("/api/zoho/webhooks/whatever", content=b"{}").status_code == 202
    assert api.post(hook, params={"organization_id": "a b"}).status_code == 400
    api.post(f"{BULK}/bills")
    assert is_ready(api)
    shown = samples(api.get("/metrics").text)
    accepted = {
        labels: value for (name, labels), value in shown.items() if name == "tds_webhooks_accepted_total"
    }
    assert accepted == {
        "entity=products,status=queued": 1,
        "entity=products,status=duplicate": 1,
        "entity=products,status=rejected": 1,
        "entity=other,status=rejected": 1,
    }
    assert shown["tds_webhooks_refused_total", "reason=bad_request"] == 1
    assert shown["tds_webhook_seconds_count", ""] == 4
    assert 0 < shown["tds_webhook_seconds_sum", ""] < 4
    assert shown["tds_database_up", ""] == 1
    assert shown["tds_events", "status=pending"] == 1
    assert shown["tds_events", "status=dead_letter"] == 2
    assert shown["tds_queue_depth", "queue=products"] == 1
    assert shown["tds_queue_oldest_seconds", "queue=products"] > 0
    assert shown["tds_dead_letters", "entity=products"] == 1
    assert shown["tds_runs_open", "state=queued"] == 1


def test_metrics_without_a_database_are_the_processs_own(api: httpx.Client, database: Database) -> None:
    assert api.post("/api/zoho/webhooks/products", content=b'{"item": {"item_id": "1"}}').status_code == 202
    name = str(conninfo_to_dict(database.conninfo)["dbname"])
    with psycopg.connect(database.dsn(dbname="postgres"), autocommit=True) as administrator:
        administrator.execute(f"alter database {name} allow_connections false".encode())
        administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
        )
        shown = samples(api.get("/metrics").text)
        assert shown["tds_database_up", ""] == 0
        assert shown["tds_webhooks_accepted_total", "entity=products,status=queued"] == 1
        assert ("tds_events", "status=pending") not in shown
        assert api.get("/readyz").json()["failed"] == {"database": "it cannot be reached"}
        answer = api.get(f"{BULK}/runs")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        administrator.execute(f"alter database {name} allow_connections true".encode())
    wait_until(lambda: samples(api.get("/metrics").text)["tds_database_up", ""] == 1, "it is up again")
    assert api.get(f"{BULK}/runs").status_code == 200


def test_many_scrapes_ask_the_database_once(api: httpx.Client, database: Database) -> None:
    execute(database, "create table public.asked (at timestamptz)")
    execute(database, "grant insert on public.asked to public")
    execute(
        database,
        """create or replace function tds.metrics() returns jsonb language plpgsql security definer as $$ begin
           insert into public.asked values (now()); return '{"events": {}, "queues": {}, "dead_letters": {},
           "details": {}, "runs": {}, "calls": {}}'; end $$""",
    )
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(api.get, ["/metrics"] * 30)} == {200}
    assert len(execute(database, "select 1 from public.asked")) == 1


def test_any_of_several_processes_answers_for_all(test_server: TestServer, tmp_path: Path) -> None:
    count = "from tds_receiver.metrics import Metrics; m = Metrics(); m.accepted('bills', 'queued', 0.01); print(m.text(None).decode())"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
    for total in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", count], env=environment, capture_output=True, text=True, check=True
        )
        shown = samples(done.stdout)
        assert shown["tds_webhooks_accepted_total", "entity=bills,status=queued"] == total
        assert shown["tds_database_up", ""] == 0


def test_the_document_tells_of_all(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    entities = ["products", "customers", "invoices", "bills", "stock", "pricelists"]
    assert set(document["paths"]) == {
        *(f"{BULK}/{entity}" for entity in entities),
        f"{BULK}/{{name}}",
        f"{BULK}/runs",
        f"{BULK}/runs/{{run_id}}",
        f"{BULK}/runs/{{run_id}}/cancel",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/zoho/webhooks/{entity}",
        "/images/{sha256}",
    }
    hook = document["paths"]["/api/zoho/webhooks/{entity}"]["post"]
    assert hook["requestBody"]["content"] == {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    assert document["paths"][f"{BULK}/stock"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    taken = document["components"]["schemas"]["StockOptions"]
    assert (set(taken["properties"]), taken["additionalProperties"]) == (
        {"warehouses", "update_only", "batch_size"},
        False,
    )
    assert "swagger" in api.get("/docs").text


def test_the_document_leaves_no_answer_and_no_key_out(api: httpx.Client) -> None:
    """Every operation: a summary, a name of its own, how it is guarded, and each answer with its type."""
    document = api.get("/openapi.json").json()
    schemes, tags = document["components"]["securitySchemes"], {tag["name"] for tag in document["tags"]}
    names = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            names.append(operation["operationId"])
            assert operation["summary"], path
            assert set(operation["tags"]) <= tags, path
            guarded = not path.startswith(("/healthz", "/readyz", "/metrics", "/images"))
            assert bool(operation.get("security")) == guarded, path
            assert {name for one in operation.get("security", []) for name in one} <= set(schemes), path
            if guarded:
                assert {"401", "413", "429", "503"} <= set(operation["responses"]), (method, path)
            for code, answer in operation["responses"].items():
                assert answer["description"], (path, code)
                if code == "304":
                    assert "content" not in answer
                    continue
                [content] = answer["content"].values()
                assert content["schema"], (path, code)
    assert len(names) == len(set(names)) > 14
    used = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document["paths"])))
    assert used <= set(document["components"]["schemas"])
    # what is refused is refused as told
    wrong = {"Authorization": f"Bearer tds_{'0' * 64}"}
    answers = {api.get(f"{BULK}/runs", headers=wrong).status_code for _ in range(200)}
    assert answers == {401, 429}


@pytest.fixture
def calls(api: httpx.Client) -> Iterator[requests.Session]:
    """A session for schemathesis, with a key."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = api.headers["Authorization"]
        yield session


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_generated_requests_are_answered_as_documented(api: httpx.Client, calls: requests.Session) -> None:
    document = api.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=str(api.base_url).rstrip("/"))
    tried = 0
    for result in schema.exclude(path_regex="webhooks").get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=8,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def conforms(case: schemathesis.Case[Any]) -> None:
                nonlocal tried
                tried += 1
                case.call_and_validate(session=calls, checks=CHECKS)

            with suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
                conforms()
    assert tried > 100


def test_the_probes_tell_what_the_last_look_at_the_health_said(api: httpx.Client, database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.observe_health()")
        conn.execute("update tds.health_state set state = 'critical' where check_name = 'workers'")
    is_ready(api)
    told = api.get("/readyz").json()
    assert (told["status"], told["health"]["state"], told["health"]["critical"]) == (
        "ready",
        "critical",
        ["workers"],
    )
    assert 0 <= told["health"]["age_seconds"] < 120
    assert api.get("/healthz").json()["health"]["state"] == "critical"
