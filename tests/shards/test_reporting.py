"""The mirrors of all shards read as one, in a database of their own."""

from __future__ import annotations

import pytest

from tds_db.reporting import make_reporting
from tds_db.shards import ShardError
from tests.conftest import all_servers
from tests.shards.conftest import FIRST, NOBODYS, SECOND, Cluster, product


def test_a_reporting_database_reads_all_shards_at_once(
    cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    cluster.receive((FIRST, product("1")), (SECOND, product("2")), (NOBODYS, product("3")))
    cluster.drain()
    everything = "select organization_id, zoho_item_id from zoho.products"
    with all_servers(request.config).get("pg15").empty_database() as reports:
        made = make_reporting(cluster.router.conninfo, reports.conninfo)
        assert "invoice_line_items" in made.tables
        with reports.connect(autocommit=True) as conn:
            expected = [(FIRST, "1"), (SECOND, "2"), (NOBODYS, "3")]
            assert sorted(conn.execute(everything.encode()).fetchall()) == expected
            plan = "\n".join(row[0] for row in conn.execute(f"explain {everything}".encode()))
            assert plan.startswith("Append")
            assert plan.count("Async Foreign Scan on") == 2
            one = conn.execute(f"explain (verbose) {everything} where organization_id = '{SECOND}'".encode())
            told = "\n".join(row[0] for row in one)
            assert told.count("Foreign Scan on") == 1
            assert "shard_b" in told
            # what is on its way is seen once, and where it went
            cluster.move(FIRST, "b")
            assert sorted(conn.execute(everything.encode()).fetchall()) == expected
            make_reporting(cluster.router.conninfo, reports.conninfo)
            query = f"{everything} where organization_id = '{FIRST}'"
            assert conn.execute(query.encode()).fetchall() == [(FIRST, "1")]
    with pytest.raises(ShardError, match="itself"):
        make_reporting(cluster.router.conninfo, cluster.shards["a"].conninfo)
