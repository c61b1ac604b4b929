"""A shard that takes nothing for now holds up nobody's webhooks but its own organisations'."""

from __future__ import annotations

from tests.shards.conftest import FIRST, SECOND, Cluster, product


def test_a_shard_whose_inbox_is_locked_is_given_up_and_others_are_stored(cluster: Cluster) -> None:
    query = (
        "select status from tds.receive_many(array['products', 'products'], array[%s::bytea, %s::bytea], "
        "array[%s, %s])"
    )
    given = [product("1").encode(), product("1").encode(), SECOND, FIRST]
    with cluster.router.connect(autocommit=True) as conn:
        with cluster.shards["b"].connect() as holder:
            holder.execute("lock table tds.inbox in access exclusive mode")
            assert conn.execute(query, given).fetchall() == [("unavailable",), ("queued",)]
            # and is not waited for again so soon
            assert conn.execute(query, given).fetchall() == [("unavailable",), ("duplicate",)]
        for _ in range(100):
            if conn.execute(query, given).fetchall() == [("queued",), ("duplicate",)]:
                break
            conn.execute("select pg_sleep(0.1)")
    assert cluster.rows("select count(*) from tds.inbox", shard="b") == [(1,)]
