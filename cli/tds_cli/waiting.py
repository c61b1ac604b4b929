"""What waits, why, and who holds it: for `tds status` and `tds process`."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

WAITING = """
    select entity, count(*) as events, min(since) as since, min(retry_at) as next_try, error_code,
           left(error, 300) as why
      from tds_waiting group by entity, error_code, left(error, 300) order by min(since), entity limit 20"""
HOLDERS = """
    select pid, user_name as "user", application_name as application, since, state, query, tables, waiting
      from tds_lock_holders
     where since < clock_timestamp() - make_interval(secs => tds.setting_int('lock_wait_ms') / 1000.0)
     limit 20"""


def waiting(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """Events that failed and wait for another try, by their reason.

    Raises:
        psycopg.Error: the database refuses, or has an older schema.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(WAITING).fetchall()


def holders(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """Sessions that have held locks on our tables for longer than a batch waits.

    Raises:
        psycopg.Error: the database refuses, or has an older schema.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(HOLDERS).fetchall()
