"""A worker that hangs is found by its silence, and whoever started it starts another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.db.servers import Database
from tests.journeys.waiting import wait_until

WORKERS = "select pid from tds.program where kind = 'worker' and stopped_at is null order by started_at desc limit 1"


def test_a_worker_that_hangs_is_replaced(database: Database) -> None:
    environment = {**os.environ, "TDS_DATABASE_URL": database.conninfo}
    command = [sys.executable, "-P", "-m", "tds_cli", "work", "--workers", "2"]
    with database.connect(autocommit=True) as conn:
        conn.execute("update tds.setting set value = '12' where name = 'program_silent_seconds'")
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as supervisor:
            try:
                living = "select count(*) from tds.program where kind = 'worker' and stopped_at is null"
                wait_until(lambda: conn.execute(living).fetchone() == (2,), "two workers")
                row = conn.execute(WORKERS).fetchone()
                assert row is not None
                os.kill(row[0], signal.SIGSTOP)
                # for as long as it may be
                conn.execute(
                    "update tds.program set beat_at = beat_at - interval '12 seconds' where pid = %s", row
                )
                asked = "select count(*) from tds.program where restart_wanted_at is not null and pid = %s"

                def is_asked() -> bool:
                    conn.execute("select * from tds.heal()")
                    return conn.execute(asked, [row[0]]).fetchone() == (1,)

                wait_until(is_asked, "a restart is asked for")
                replaced = "select stopped_at is not null from tds.program where pid = %s"
                wait_until(lambda: conn.execute(replaced, [row[0]]).fetchone() == (True,), "it is ended")
                wait_until(lambda: conn.execute(living).fetchone() == (2,), "another one")
                assert conn.execute("select count(*) from tds.heal_log where not ok").fetchone() == (0,)
            finally:
                supervisor.terminate()
                supervisor.wait()
        assert conn.execute(living).fetchone() == (0,), "who stops in order says so"
