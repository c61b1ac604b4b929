"""An organisation moves to another shard while webhooks keep coming, whoever is killed meanwhile: none lost, none doubled."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Self

import psycopg
import pytest

from tds_db import shards
from tests.commands import tds
from tests.shards.conftest import FIRST, SECOND, Cluster, product

MOVES = int(os.environ.get("TDS_SHARD_MOVES", "1"))
"""How many moves under load the drill makes."""

MIRROR = """
    select zoho_item_id, name, sync_version, zoho_metadata::text from zoho.products where organization_id = %s order by 1"""
LEFT = """
    select m.relation from tds.moved_tables() m
     where m.relation <> 'tds.image_file' and exists (select from tds.organization_sums(%s, 8, m.relation))"""


def test_all_that_is_an_organisations_moves(cluster: Cluster) -> None:
    cluster.receive((FIRST, product("1")), (FIRST, product("2", day=2)), (SECOND, product("1", "another's")))
    cluster.receive((FIRST, '{"item": {"item_id": "3", "rate": "much"}}'), (FIRST, "no json"))
    cluster.drain("a", "b")
    cluster.receive((FIRST, product("2", "newer", 3)), (FIRST, product("4")))  # open while it moves
    with cluster.shards["a"].connect(autocommit=True) as conn:
        conn.execute("select tds.want_detail('products', %s, '77', 'asked for')", [FIRST])
        conn.execute("select tds.snapshot_stock()")
    before = cluster.rows(
        "select dead_letter_id, reason from tds.dead_letter where organization_id = %s order by 1",
        FIRST,
        shard="a",
    )
    ids = cluster.rows(
        "select zoho_item_id, id from zoho.products where organization_id = %s order by 1", FIRST, shard="a"
    )

    moved = cluster.move(FIRST, "b")
    assert moved.rows > 0
    assert cluster.rows(LEFT, FIRST, shard="a") == []
    assert cluster.rows("select shard, arrives_at from tds.directory where organization_id = %s", FIRST) == [
        (1, None)
    ]
    assert cluster.rows("select * from tds.gate", shard="b") == []
    assert before == cluster.rows(
        "select dead_letter_id, reason from tds.dead_letter where organization_id = %s order by 1",
        FIRST,
        shard="b",
    )
    wanted = cluster.rows(
        "select zoho_id from tds.wanted_detail where organization_id = %s order by 1", FIRST, shard="b"
    )
    assert ("77",) in wanted

    cluster.drain("a", "b")
    assert [row[:2] for row in cluster.rows(MIRROR, FIRST, shard="b")] == [
        ("1", "a"),
        ("2", "newer"),
        ("4", "a"),
    ]
    assert [row[:2] for row in cluster.rows(MIRROR, SECOND, shard="b")] == [("1", "another's")]
    kept = dict(
        cluster.rows(
            "select zoho_item_id, id from zoho.products where organization_id = %s", FIRST, shard="b"
        )
    )
    assert {name: kept[name] for name, _ in ids} == dict(ids)
    assert (
        cluster.rows(
            "select o.inbox_id from tds.inbox_open o union all select h.inbox_id from tds.inbox_held h",
            shard="b",
        )
        == []
    )
    # what comes late, past the router, is refused and not lost in silence
    with (
        cluster.shards["a"].connect(autocommit=True) as conn,
        pytest.raises(psycopg.Error, match="moved to another shard") as refused,
    ):
        conn.execute("select tds.receive('products', '{}', %s)", [FIRST])
    assert refused.value.sqlstate == "ZB080"
    # and it comes home
    cluster.receive((FIRST, product("1", "later", 9)))
    cluster.move(FIRST, "a")
    cluster.drain("a", "b")
    assert [row[:2] for row in cluster.rows(MIRROR, FIRST, shard="a")] == [
        ("1", "later"),
        ("2", "newer"),
        ("4", "a"),
    ]
    assert cluster.rows(LEFT, FIRST, shard="b") == []


RESTORED = {
    "before it was moved": "delete from tds.move",
    "while it was moved": "update tds.move set step = 'carry', row_count = null",
}


@pytest.mark.parametrize("router", RESTORED)
def test_a_router_of_before_the_move_takes_nothing_from_where_the_organisation_is(
    cluster: Cluster, router: str
) -> None:
    """As after a restore of its backup: the shards know better."""
    cluster.receive((FIRST, product("1")), (FIRST, product("2")))
    cluster.drain("a")
    cluster.move(FIRST, "b")
    cluster.receive((FIRST, product("1", "since", 5)))
    cluster.drain("b")
    before = cluster.rows(MIRROR, FIRST, shard="b")
    with cluster.router.connect(autocommit=True) as conn:
        conn.execute(RESTORED[router].encode())
        conn.execute("update tds.directory set shard = 0 where organization_id = %s", [FIRST])
    assert [row[2] for row in cluster.receive((FIRST, product("1", "not stored", 6)))] == ["unavailable"]
    named = [] if "while" in router else [(FIRST, "a", "b")]
    assert cluster.rows("select organization_id, shard, belongs_to from tds.misplaced()") == named
    listed = tds({"TDS_DATABASE_URL": cluster.router.conninfo}, "shard", "list")
    assert (listed.returncode, f"tds shard move {FIRST} --to b" in listed.stderr) == (int(bool(named)), True)
    assert cluster.move(FIRST, "b").rows == 0
    assert cluster.rows(MIRROR, FIRST, shard="b") == before
    cluster.receive((FIRST, product("1", "later", 7)))
    cluster.drain("b")
    assert [row[1] for row in cluster.rows(MIRROR, FIRST, shard="b")] == ["later", "a"]
    assert cluster.move(FIRST, "a").rows > 0
    assert [row[1] for row in cluster.rows(MIRROR, FIRST, shard="a")] == ["later", "a"]


def test_two_lives_of_one_organisation_are_not_made_one(cluster: Cluster) -> None:
    cluster.receive((FIRST, product("1")))
    with cluster.shards["b"].connect(autocommit=True) as conn:
        conn.execute("select tds.receive('products', %s, %s)", [product("9").encode(), FIRST])
    cluster.drain("a", "b")
    with pytest.raises(shards.ShardError, match=r"b has \d+ rows of 10001 already") as refused:
        cluster.move(FIRST, "b")
    assert "tds org remove" in str(refused.value)
    assert [row[0] for row in cluster.rows(MIRROR, FIRST, shard="a")] == ["1"]
    assert [row[0] for row in cluster.rows(MIRROR, FIRST, shard="b")] == ["9"]
    assert cluster.rows("select * from tds.move") == cluster.rows("select * from tds.gate", shard="b") == []
    with cluster.shards["b"].connect(autocommit=True) as conn:
        conn.execute(
            "insert into tds.full_pull (organization_id, began_at, finished_at) values (%s, now(), now())",
            [FIRST],
        )
    listed = tds({"TDS_DATABASE_URL": cluster.router.conninfo}, "shard", "list")
    assert (listed.returncode, f"tds org remove {FIRST}, with the URL of b" in listed.stderr) == (1, True)
    assert [row[2] for row in cluster.receive((FIRST, product("2")))] == ["queued"]


def test_a_shard_of_before_the_move_is_given_nothing_to_remove(cluster: Cluster) -> None:
    """As where the shard that an organisation came to is restored from a backup before the other has removed its rows."""
    cluster.receive((FIRST, product("1")))
    cluster.drain("a")
    cluster.receive((FIRST, product("2")))
    with cluster.shards["a"].connect(autocommit=True) as conn:
        conn.execute("select tds.set_gate(%s, 'departed', 'b')", [FIRST])
        conn.execute("select * from tds.hold_events(%s)", [FIRST])
    with pytest.raises(shards.ShardError, match="a has let 10001 go, and b has not got it") as refused:
        cluster.move(FIRST, "b")
    assert [row[0] for row in cluster.rows(MIRROR, FIRST, shard="a")] == ["1"]
    statement = str(refused.value).rpartition("on a: ")[2]
    with cluster.shards["a"].connect(autocommit=True) as conn:
        conn.execute(statement.encode())
    cluster.drain("a")
    assert [row[0] for row in cluster.rows(MIRROR, FIRST, shard="a")] == ["1", "2"]
    assert cluster.move(FIRST, "b").rows > 0
    assert [row[0] for row in cluster.rows(MIRROR, FIRST, shard="b")] == ["1", "2"]


def test_nobody_asks_zoho_for_one_that_moves_and_its_minute_goes_along(cluster: Cluster) -> None:
    budget, reserve = "select tds.set_budget(%s, 5)", "select * from tds.reserve_calls(%s, 9, 'live')"
    with (
        cluster.shards["a"].connect(autocommit=True) as poller,
        cluster.shards["b"].connect(autocommit=True) as theirs,
    ):
        poller.execute(budget, [FIRST])
        granted, calls, *_ = poller.execute(reserve, [FIRST]).fetchone() or ()
        assert granted == 5
        for call in calls[:4]:
            poller.execute("select tds.settle_call(%s, 200, 0)", [call])
        poller.execute("select tds.want('products', '77', %s)", [FIRST])
        poller.execute("select tds.take_details('products', %s, 5, pg_backend_pid())", [FIRST])
        # a move waits for whoever asks, grants nothing more, and closes nothing to webhooks
        with pytest.raises(shards.ShardError, match="ask Zoho for 10001 still"):
            shards.move(cluster.router.conninfo, FIRST, "b", patience=0.2)
        assert [row[2] for row in cluster.receive((FIRST, product("1")))] == ["queued"]
        for conn, query in ((poller, reserve), (theirs, reserve), (theirs, budget)):
            with pytest.raises(psycopg.Error, match="is being moved") as refused:
                conn.execute(query, [FIRST])
            assert refused.value.sqlstate == "ZB081"
        # what was asked for is stored; what was only taken is free again
        poller.execute(
            "select tds.store_detail('products', %s, '{1}', %s, now())", [FIRST, product("1", "read")]
        )
        poller.execute("select tds.end_asking(%s)", [FIRST])
        cluster.move(FIRST, "b")
        with pytest.raises(psycopg.Error, match="has moved") as gone:
            poller.execute(budget, [FIRST])
        assert gone.value.sqlstate == "ZB080"
        # its ceiling and the calls of its last minute, the one without an answer too
        theirs.execute(budget.replace(", 5", ""), [FIRST])
        told = theirs.execute(reserve, [FIRST]).fetchone()
        assert told
        assert (told[0], told[4]) == (0, "the minute's calls are used up")
        taken = theirs.execute("select zoho_id from tds.take_details('products', %s, 5)", [FIRST]).fetchall()
        assert ("77",) in taken
    cluster.drain()
    assert [row[:2] for row in cluster.rows(MIRROR, FIRST, shard="b")] == [("1", "read")]


class Load:
    """Webhooks of one organisation through the router, one after the other, and a worker on each shard, until it is left."""

    def __init__(self, cluster: Cluster) -> None:
        self.accepted: list[tuple[int, str, str]] = []
        """The event, its product and its name."""
        self._cluster = cluster
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._kept(self._send)),
            *(threading.Thread(target=self._kept(self._work), args=[name]) for name in cluster.shards),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._failed

    def _kept(self, act: Callable[..., None]) -> Callable[..., None]:
        def kept(*arguments: object) -> None:
            try:
                act(*arguments)
            except BaseException as error:
                self._failed.append(error)

        return kept

    def _send(self) -> None:
        query = (
            "select inbox_id, status from tds.receive_many(array['products'], array[%s::bytea], array[%s])"
        )
        with self._cluster.router.connect(autocommit=True) as conn:
            for number in itertools.count(1):
                item, name = str(number % 40 + 1), f"n{number}"
                body = _edit(item, name, number).encode()
                # as Zoho does: again, until it is taken
                while (row := conn.execute(query, [body, FIRST]).fetchone()) and row[1] == "unavailable":
                    pass
                assert row
                self.accepted.append((row[0], item, name))
                if self._stop.wait(0.002):
                    return

    def _work(self, name: str) -> None:
        with self._cluster.shards[name].connect(autocommit=True) as conn:
            while not self._stop.wait(0.02):
                conn.execute("call tds.process_batch()")


def killed_mover(cluster: Cluster, to: str, dice: random.Random) -> bool:
    """Moves, and kills the mover as it begins one of its steps, or a moment later; whether it had come to its end before."""
    victim = dice.randrange(8)
    with subprocess.Popen(
        [sys.executable, "-m", "tds_cli", "shard", "move", FIRST, "--to", to],
        env={**os.environ, "TDS_DATABASE_URL": cluster.router.conninfo},
        stderr=subprocess.PIPE,
        text=True,
    ) as mover:
        assert mover.stderr
        told = []
        for line in mover.stderr:
            told.append(line)
            if len(told) == victim + 1 and "…" in line:
                time.sleep(dice.random() * 0.15)
                mover.send_signal(signal.SIGKILL)
    assert mover.returncode in (0, -signal.SIGKILL), told
    return mover.returncode == 0


def test_nothing_is_lost_or_doubled_while_movers_are_killed(cluster: Cluster) -> None:
    """Webhooks all the time, workers on both shards, and a mover that is killed again and again at any step."""
    seed = int(os.environ.get("TDS_SHARD_SEED", "7"))
    dice = random.Random(seed)
    with Load(cluster) as load:
        for number in range(MOVES):
            while not killed_mover(cluster, "ba"[number % 2], dice):
                pass
    home, other = ("b", "a") if MOVES % 2 else ("a", "b")
    cluster.drain()
    last = {item: name for _, item, name in load.accepted}
    assert {row[0]: row[1] for row in cluster.rows(MIRROR, FIRST, shard=home)} == last, f"seed {seed}"
    assert cluster.rows(LEFT, FIRST, shard=other) == []
    stored = cluster.rows(
        "select i.inbox_id, o.status from tds.inbox i left join tds.inbox_outcome o "
        "on o.received_at = i.received_at and o.inbox_id = i.inbox_id where i.organization_id = %s",
        FIRST,
        shard=home,
    )
    assert sorted(number for number, _, _ in load.accepted) == sorted(number for number, _ in stored)
    assert {status for _, status in stored} == {"completed"}, f"seed {seed}"


def _edit(item: str, name: str, number: int) -> str:
    at = f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+0000"
    return json.dumps({"item": {"item_id": item, "name": name, "rate": 1, "last_modified_time": at}})
