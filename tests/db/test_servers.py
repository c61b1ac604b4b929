"""The test servers themselves: what a test may rely on."""

from __future__ import annotations

import psycopg
import pytest

from tests.db.servers import CRON_DATABASE, Database
from tests.journeys.waiting import wait_until


def test_a_database_is_fresh_upgraded_and_marked(database: Database) -> None:
    with database.connect() as conn:
        marked = "select current_setting('tds.test_database'), current_user"
        assert conn.execute(marked).fetchone() == ("on", conn.info.user)
        assert conn.execute("select count(*) from tds.inbox").fetchone() == (0,)
    with database.connect(role="tds_reader") as conn:
        assert conn.execute("select current_user").fetchone() == ("tds_reader",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("create table tds.x ()")


def test_pg_cron_is_at_work_in_its_database(cron_database: Database) -> None:
    launcher = "select datname from pg_stat_activity where backend_type = 'pg_cron launcher'"
    with cron_database.connect(autocommit=True) as conn:
        wait_until(lambda: conn.execute(launcher).fetchone() == (CRON_DATABASE,), "the launcher is there")
        conn.execute("select cron.unschedule(cron.schedule('tds:probe', '* * * * *', 'select 1'))")
