"""What Prometheus and Grafana see: a real scrape, the rules, and the board that is drawn of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.db.servers import Database
from tests.receiver.conftest import Receive, is_ready
from tests.receiver.test_bulk_sync import execute

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yml"
CASES = ROOT / "deploy/prometheus/rules_test.yml"
BOARD = ROOT / "deploy/grafana/tds.json"
PAGE = ROOT / "docs/monitoring.md"
OF_PROMETHEUS = {"instance", "job"}  # labels that it adds itself
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

# A little of everything that is told of.
A_DAY: tuple[str, ...] = (
    "select tds.want_detail('invoices', '748139205', '9', 'new')",
    'select tds.receive(\'products\', \'{"item": {"item_id": "7", "rate": "x"}}\', \'748139205\')',
    "call tds.process_batch('products', 100)",
    "select tds.settle_call((select call_ids[1] from tds.reserve_calls('748139205')), 200, 0, 1000, 600, 3600)",
    "select tds.request_pull('bills', '{}', '748139205')",
    "insert into tds.delay values (date_trunc('hour', now()), 'products', 2.5, 100, 120)",
    "select set_config('application_name', 'tds/worker/here/1', false), tds.beat()",
    "call tds.run_job('health')",
)


@pytest.fixture
def scraped(receiver: Receive, database: Database) -> str:
    """What /metrics says when there is something of everything."""
    client = receiver(webhook_token="a-token-of-this-test")
    assert is_ready(client)
    hook = "/api/zoho/webhooks/products"
    assert client.post(hook, json={"item": {"item_id": "1"}}).status_code == 401
    client.headers["X-TDS-Token"] = "a-token-of-this-test"
    assert client.post(hook, json={"item": {"item_id": "1"}}).status_code == 202
    for statement in A_DAY:
        execute(database, statement)
    assert client.post(hook, json={"item": {"item_id": "2"}}).status_code == 202
    return _told(client)


def _told(client: httpx.Client) -> str:
    return client.get("/metrics").raise_for_status().text


def labels_of(text: str) -> dict[str, set[str]]:
    """The labels of each metric of a scrape that has a sample."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def used(expression: str) -> tuple[set[str], set[str]]:
    """The metrics that an expression names, and its labels."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    metrics = set(re.findall(r"\b(tds_[a-z0-9_]+)\b", bare))
    labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"\"", bare))
    for listed in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", bare):
        labels.update(name.strip() for name in listed.split(",") if name.strip())
    return metrics, labels


def board_queries() -> list[str]:
    """Every query of the board, of its variables too."""
    board = json.loads(BOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), ([a-z_]+)\)", variable["definition"])
            assert found, variable
            queries.append(f"count by ({found[2]}) ({found[1]})")
    return queries


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@promtool
def test_metrics_are_named_by_the_rules(scraped: str) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=scraped, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_query_asks_for_what_there_is(scraped: str) -> None:
    there = labels_of(scraped)
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = [*board_queries(), *(rule["expr"] for rule in rules())]
    assert len(asked) > 60
    for query in asked:
        names, labels = used(query)
        assert names <= there.keys(), query
        known = set().union(*(there[name] for name in names)) | OF_PROMETHEUS
        assert labels <= known or not names, query
        assert set(re.findall(r"\btds:[a-z0-9_:]+", query)) <= recorded, query
    for rule in rules():
        for text in rule.get("annotations", {}).values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= used(rule["expr"])[1] | OF_PROMETHEUS, rule


def test_the_page_names_every_metric(scraped: str) -> None:
    named = {family.name for family in text_string_to_metric_families(scraped)}
    counters = {name for name in labels_of(scraped) if name.endswith("_total")}
    there = {f"{name}_total" if f"{name}_total" in counters else name for name in named}
    told = set(re.findall(r"^\| `(tds_[a-z0-9_]+)", PAGE.read_text(), re.MULTILINE))
    assert told == there
    assert set(re.findall(r"^\| `(Tds[A-Za-z]+)`", PAGE.read_text(), re.MULTILINE)) == {
        rule["alert"] for rule in rules() if "alert" in rule
    }


def test_what_it_says_is_so(scraped: str, database: Database) -> None:
    shown = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
    }
    checks = execute(database, "select name, area, state, value, unit from tds_health")
    codes = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
    assert len(checks) > 40
    for name, area, state, value, unit in checks:
        assert shown["tds_health_check_state", area, name] == codes[state]
        assert shown.get(("tds_health_check_value", area, name, unit)) == (
            None if value is None else float(value)
        )
    [(summary,)] = execute(database, "select tds.health_summary() ->> 'state'")
    assert shown["tds_health_state",] == codes[summary]
    assert shown["tds_queue_events", "products", "pending"] == 1
    assert shown["tds_events_finished_total", "products", "completed"] == 1
    assert shown["tds_events_finished_total", "products", "dead_letter"] == 1
    assert shown["tds_delay_average_seconds", "products"] == 1.2
    assert shown["tds_delay_p99_seconds", "products"] > 2
    assert shown["tds_job_failed", "health"] == 0
    assert shown["tds_job_last_success_timestamp_seconds", "health"] > 0
    assert shown["tds_programs", "worker"] == 1
    assert shown["tds_api_calls_limit_day", "748139205"] == 1000
    [(size,)] = execute(database, "select value from tds.measure where name = 'database_bytes'")
    assert shown["tds_database_size_bytes",] == float(size)
    assert shown["tds_webhooks_refused_total", "unauthorized"] == 1
    assert shown["tds_receiver_loop_late_seconds_count",] >= 0


@promtool
def test_the_rules_and_every_query_of_the_board_can_be_read(tmp_path: Path) -> None:
    queries = [
        query.replace("$__rate_interval", "5m").replace("$entity", ".*").replace("$datasource", "")
        for query in board_queries()
    ]
    assert not any("$" in query for query in queries)
    asked = tmp_path / "board.yml"
    asked.write_text(
        yaml.safe_dump(
            {
                "groups": [
                    {
                        "name": "board",
                        "rules": [{"record": f"q:q{n}", "expr": query} for n, query in enumerate(queries)],
                    }
                ]
            }
        )
    )
    for path in (RULES, asked):
        done = subprocess.run(
            ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_each_alert_comes_when_it_should_and_not_before() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(CASES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tried = yaml.safe_load(CASES.read_text())["tests"]
    fired = {case["alertname"] for test in tried for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {
        case["alertname"] for test in tried for case in test["alert_rule_test"] if not case["exp_alerts"]
    }
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert (fired, quiet) == (alerts, alerts)
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert set(rule["annotations"]) == {"summary", "command"}


def test_the_board_is_one_that_grafana_takes() -> None:
    board = json.loads(BOARD.read_text())
    assert board["schemaVersion"] >= 36
    assert "id" not in board
    assert (board["uid"], board["title"]) == ("tds-mirror", "TDS")
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = {"type": "prometheus", "uid": "${datasource}"}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == source
        assert panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["datasource"] == source for target in panel["targets"])
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for query in board_queries():
        assert set(re.findall(r"\$(\w+)", query)) <= variables.keys() | {"__rate_interval"}
