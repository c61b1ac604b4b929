"""What comes by a router is stored on its organisation's shard, and answered as by one database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from tds_cli.main import main
from tds_db import shards
from tests.shards.conftest import FIRST, NOBODYS, SECOND, Cluster, product


def test_each_body_is_stored_on_its_organisations_shard_and_answered_in_the_order_given(
    cluster: Cluster,
) -> None:
    given = [
        (SECOND, product("1")),
        (FIRST, product("2")),
        (NOBODYS, product("3")),
        (SECOND, "no json"),
        (FIRST, product("2")),
        (None, json.dumps({"organization_id": SECOND, **json.loads(product("4"))})),
        (None, product("5")),
    ]
    told = cluster.receive(*given)
    assert [row[0] for row in told] == [1, 2, 3, 4, 5, 6, 7]
    assert [row[2] for row in told] == [
        "queued",
        "queued",
        "queued",
        "rejected",
        "duplicate",
        "queued",
        "queued",
    ]
    of = [SECOND, FIRST, NOBODYS, SECOND, FIRST, SECOND, "default"]
    for shard, organizations in (("a", {FIRST, NOBODYS, "default"}), ("b", {SECOND})):
        stored = dict(cluster.rows("select inbox_id, organization_id from tds.inbox", shard=shard))
        assert stored == {
            number: organization
            for (_, number, _), organization in zip(told, of, strict=True)
            if organization in organizations
        }
    # one by one, the same
    one = "select status from tds.receive('products', %s::bytea, %s)"
    assert cluster.rows(one, product("4", "b", 2).encode(), SECOND) == [("queued",)]
    assert cluster.rows(one, product("4", "b", 2).encode(), SECOND) == [("duplicate",)]
    cluster.drain()
    named = cluster.rows("select zoho_item_id, name from zoho.products order by 1", shard="b")
    assert named == [("1", "a"), ("4", "b")]
    # a receiver may tell of webhooks alone, though the shard sees the router
    with cluster.router.connect(autocommit=True, role="tds_receiver") as conn:
        for refused in ("source => 'poller'", "shape => 'list'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"select tds.receive('products', '{{}}', '1', {refused})".encode())


def test_a_shard_that_is_away_costs_its_own_organisations_alone(cluster: Cluster) -> None:
    with serving(cluster) as url:
        assert post(url, SECOND, product("1")) == 202
        with away(cluster, "b"):
            answers = [
                (post(url, org, product("9", f"n{n}"))) for n in range(3) for org in (FIRST, SECOND, NOBODYS)
            ]
            assert answers == [202, 503, 202] * 3
            with pytest.raises(psycopg.OperationalError):
                cluster.rows("select * from tds.receive('products', '{}', %s)", SECOND)
            told = run(cluster, "health", "--json")
            checks = {check["name"]: check for check in json.loads(told)["checks"]}
            assert checks["b/reachable"]["state"] == "critical"
            assert "a/receiver" in checks
            assert json.loads(run(cluster, "shard", "list", "--json"))["shards"][1]["health"] == "away"
            summary = json.loads(run(cluster, "status", "--json"))
            assert [row["away"] is None for row in summary["shards"]] == [True, False]
            assert {row["shard"] for row in summary["open"]} == {"a"}
        # and it is taken again as soon as it is back
        for _ in range(300):
            if post(url, SECOND, product("2")) == 202:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the shard came back, and is not written to")
    stored = cluster.rows(
        "select count(*), min(organization_id), max(organization_id) from tds.inbox", shard="b"
    )
    assert stored == [(2, SECOND, SECOND)]


def test_operators_ask_the_shard_that_has_it_or_all(cluster: Cluster) -> None:
    cluster.receive((FIRST, product("1")), (SECOND, product("1")))
    cluster.receive((SECOND, '{"item": {"item_id": "3", "rate": "much"}}'))
    cluster.drain()
    where = "select shard, outcome from tds.explain_record('products', '1'{}) order by 1"
    assert cluster.rows(where.format("")) == [("a", "applied"), ("b", "applied")]
    assert cluster.rows(where.format(f", '{SECOND}'")) == [("b", "applied")]
    [(shard, letter)] = cluster.rows("select shard, dead_letter_id from tds_dead_letter_queue")
    assert shard == "b"
    assert cluster.rows("select tds.replay(%s::bigint) / 1000000000000", letter) == [(1,)]
    with pytest.raises(psycopg.Error, match="no shard has that"):
        cluster.rows("select tds.replay(%s::bigint)", letter)
    [(run_id,)] = cluster.rows("select tds.request_pull('products', organization_id => %s)", SECOND)
    assert cluster.rows("select tds.api_run(%s) ->> 'shard'", run_id) == [("b",)]
    assert cluster.rows("select state from tds.run where run_id = %s", run_id, shard="b") == [("queued",)]
    counts = dict(cluster.rows("select status, events from tds_queue_counts"))
    assert counts["completed"] == 2
    [(metrics,)] = cluster.rows("select tds.metrics()")
    assert metrics["events"]["completed"] == 2
    cluster.rows("select tds.repair_records('products', array['1'], %s)", FIRST)
    assert cluster.rows("select zoho_id from tds.wanted_detail where forced_by is not null", shard="a") == [
        ("1",)
    ]
    with pytest.raises(psycopg.Error, match=r"^unknown entity") as refused:
        cluster.rows("select tds.request_pull('nothings', organization_id => %s)", FIRST)
    assert refused.value.sqlstate == "ZB002"
    names = {name for (name,) in cluster.rows("select name from tds.health()")}
    assert {"a/workers", "b/workers"} <= names


def test_one_upgrade_for_all(cluster: Cluster) -> None:
    """What one shard lacks is made; one that is away keeps no other from it."""
    for name in ("a", "b"):
        with cluster.shards[name].connect(autocommit=True) as conn:
            conn.execute("drop function tds.shard_report()")
    assert run(cluster, "db", "status", code=3)
    with away(cluster, "a"):
        told = json.loads(run(cluster, "db", "upgrade", "--json", code=1))
    assert "error" in told["a"]
    assert told["b"]["overwritten"][0]["object"] == "function tds.shard_report()"
    assert told["router"]["pgmq"] is None


def test_shards_are_registered_only_as_they_may_be(cluster: Cluster) -> None:
    router = cluster.router.conninfo
    with pytest.raises(shards.ShardError, match="no password"):
        shards.add(router, "c", "host=localhost user=tds password=secret dbname=tds")
    with pytest.raises(shards.ShardError, match="router"):
        shards.add(router, "c", router)
    with pytest.raises(psycopg.Error, match="another shard already"):
        shards.add(router, "c", cluster.shards["a"].conninfo)
    with pytest.raises(shards.ShardError, match="has a mirror"):
        shards.make_router(cluster.shards["a"].conninfo)
    with pytest.raises(psycopg.Error, match="organisations are there"):
        cluster.rows("select tds.remove_shard('b')")
    with pytest.raises(psycopg.Error, match="on another shard"):
        cluster.rows("select tds.place(%s, 'a')", SECOND)
    cluster.move(SECOND, "a")
    cluster.rows("select tds.remove_shard('b')")
    assert [shard.name for shard in shards.shards_of(router)] == ["a"]
    # a router that takes a database for another one stores nothing there
    cluster.rows(
        "update tds.shard set conninfo = (select conninfo from tds.shard where name = 'b') where name = 'a' returning 1"
    )
    cluster.rows("update tds.router set cluster_version = cluster_version + 1 returning 1")
    assert [row[2] for row in cluster.receive((FIRST, product("1")))] == ["unavailable"]


@contextmanager
def serving(cluster: Cluster) -> Iterator[str]:
    """`tds serve` on the router."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZOHO_")}
    with subprocess.Popen(
        [sys.executable, "-m", "tds_cli", "serve", "--port", "0"],
        env={**environment, "TDS_DATABASE_URL": cluster.router.conninfo},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as receiver:
        assert receiver.stdout
        try:
            url = receiver.stdout.readline().strip()
            for _ in range(200):
                if post(url, FIRST, product("0")) == 202:
                    break
            yield url
        finally:
            receiver.terminate()


def post(url: str, organization: str, body: str) -> int:
    """What a webhook is answered."""
    target = f"{url}/api/zoho/webhooks/products?organization_id={organization}"
    request = urllib.request.Request(target, body.encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:  # it does not listen yet
        time.sleep(0.05)
        return 0


@contextmanager
def away(cluster: Cluster, name: str) -> Iterator[None]:
    """A shard that lets nobody in."""
    database = cluster.shards[name]
    shard = sql.Identifier(re.search(r"dbname=(\S+)", database.conninfo)[1])  # type: ignore[index]
    with cluster.router.connect(autocommit=True) as conn:
        conn.execute(sql.SQL("alter database {} allow_connections false").format(shard))
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
            [shard.as_string(None).strip('"')],
        )
        try:
            yield
        finally:
            conn.execute(sql.SQL("alter database {} allow_connections true").format(shard))


def run(cluster: Cluster, *arguments: str, code: int | None = None) -> str:
    """A command against the router."""
    done = CliRunner().invoke(main, arguments, env={"TDS_DATABASE_URL": cluster.router.conninfo})
    assert code is None or done.exit_code == code, done.output
    return done.stdout
