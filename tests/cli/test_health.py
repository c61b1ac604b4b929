"""`tds health` and `tds heal`: what monitoring reads."""

from __future__ import annotations

import json
import os
import subprocess

from tests import commands
from tests.db.servers import Database


def tds(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.tds({**os.environ, "TDS_DATABASE_URL": database.conninfo}, *arguments)


def test_the_exit_code_is_that_of_a_monitoring_plugin(database: Database) -> None:
    well = tds(database, "health")
    assert (well.returncode, well.stdout.startswith("TDS OK - ")) == (0, True), well.stdout
    nobody = tds(database, "health", "--last")
    assert (nobody.returncode, "nothing has been looked at" in nobody.stdout) == (3, True)
    with database.connect(autocommit=True) as conn:
        conn.execute("select tds.observe_health()")
        conn.execute("update tds.job set enabled = false where job = 'retention'")
        warned = tds(database, "health")
        assert warned.returncode == 1
        assert warned.stdout.startswith("TDS WARNING - 1 warning: jobs_off")
        assert tds(database, "health", "--last").returncode == 0, "that is what the job saw"
        conn.execute(
            "insert into tds.api_account (account, refused, refused_at) values (repeat('a', 64), 'invalid_code', now())"
        )
        told = tds(database, "health", "--json")
        assert told.returncode == 2
        document = json.loads(told.stdout)
        worst = document["checks"][0]
        assert (document["state"], worst["name"], worst["state"]) == ("critical", "api_token", "critical")
        assert "allow_refresh" in worst["next_step"]
        assert document["last_look"]["state"] == "ok"


def test_healing_tells_before_and_after(database: Database) -> None:
    assert "Nothing has to be mended" in tds(database, "heal").stdout
    with database.connect(autocommit=True) as conn:
        conn.execute("alter table tds.inbox_open set (autovacuum_enabled = false)")
        before = tds(database, "heal", "--dry-run", "--json")
        [act] = json.loads(before.stdout)["acts"]
        assert (act["step"], act["subject"], act["ok"]) == ("autovacuum", "tds.inbox_open", True)
        assert conn.execute("select count(*) from tds.heal_log").fetchone() == (0,)
        assert tds(database, "heal").returncode == 0
        assert conn.execute("select step from tds_healed").fetchall() == [("autovacuum",)]
        assert "Nothing" in tds(database, "heal").stdout
