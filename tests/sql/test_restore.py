"""A dump with unprocessed events, restored elsewhere, goes on to the same end."""

from __future__ import annotations

import subprocess

import pytest

from tests.db.servers import TestServer
from tests.sql.conftest import Mirror, product


def test_a_restored_database_goes_on_to_the_same_end(test_server: TestServer) -> None:
    pg_dump = test_server.bin_dir / "pg_dump"
    if not pg_dump.exists():
        pytest.skip(f"{test_server.leg}: no pg_dump among its programs")
    with test_server.database() as old, test_server.empty_database() as new:
        with old.connect(autocommit=True) as a:
            source = Mirror(a)
            source.receive("products", {"item": product("1")})
            source.process()
            source.receive(
                "products", {"items": [product(str(n), rate=n) for n in range(1, 30)]}, shape="list"
            )
            dump = subprocess.run([str(pg_dump)], env=old.environment, capture_output=True, check=True).stdout
            # what waited in the queues may be lost with them
            subprocess.run(
                [str(test_server.bin_dir / "psql"), "-qX"],
                env=new.environment,
                input=dump,
                capture_output=True,
                check=True,
            )
            source.process()
            want = source.rows("select zoho_item_id, unit_price, sync_version from zoho.products order by 1")
        with new.connect(autocommit=True) as b:
            copy = Mirror(b)
            b.execute("delete from pgmq.q_tds_products")
            assert copy.value("select tds.requeue_unprocessed()") == 1
            copy.process()
            assert (
                copy.rows("select zoho_item_id, unit_price, sync_version from zoho.products order by 1")
                == want
            )
            assert len(want) == 29
            assert copy.rows("select object, change from tds_changed_by_hand") == []
            b.execute("alter function tds.now() cost 7")
            assert [row["object"] for row in copy.rows("select object from tds_changed_by_hand")] == [
                "function tds.now()"
            ]
