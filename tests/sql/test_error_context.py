"""Whoever is called at night is told where it happened: in the warning, in the row, and in tds explain."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tds_db.errors import notice_text
from tests.db.servers import Database
from tests.sql.conftest import Mirror, product

WRITER = "PL/pgSQL function tds.write_products("
INSERTER = "PL/pgSQL function tds.insert_products("


@pytest.fixture
def notices(mirror: Mirror) -> list[tuple[str | None, str | None, str]]:
    """What was told beside the answers: detail, hint, and what a log shows of it."""
    found: list[tuple[str | None, str | None, str]] = []
    mirror.conn.add_notice_handler(
        lambda notice: found.append((notice.message_detail, notice.message_hint, notice_text(notice)))
    )
    return found


def why(mirror: Mirror, zoho_id: str = "1") -> list[str | None]:
    return [row["why"] for row in mirror.rows("select why from tds.explain_record('products', %s)", zoho_id)]


def test_a_batch_that_is_put_back_says_where_it_failed(
    mirror: Mirror, notices: list[tuple[str | None, str | None, str]]
) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.conn.execute("alter table zoho.products rename to away")
    mirror.process()
    mirror.conn.execute("alter table zoho.away rename to products")
    context = mirror.value("select error_context from tds.inbox_open")
    assert context.startswith(INSERTER)
    assert "PL/pgSQL function tds.apply_claim(" in context
    assert context.splitlines()[-1].startswith("PL/pgSQL function tds.process_batch(")
    assert "insert into" not in context, "the statements stand in the functions"
    assert mirror.value("select error_context from tds_sync_queue") == context
    [(detail, hint, logged)] = notices
    assert detail == context
    assert (hint or "").startswith("select * from tds.inbox_open")
    assert INSERTER in logged
    first = context.splitlines()[0]
    assert why(mirror) == [f'put back after 42P01: relation "zoho.products" does not exist; {first}']


def test_a_record_that_fails_says_where_while_it_waits_and_when_it_is_dead(mirror: Mirror) -> None:
    mirror.conn.execute("alter table zoho.products add constraint none check (false) not valid")
    mirror.conn.execute("update tds.setting set value = '2' where name = 'max_attempts'")
    # alone, and as one of a page, which it leaves
    mirror.receive("products", {"item": product("1")})
    mirror.receive("products", {"items": [product("2"), product("3", rate="x")]}, shape="list")
    mirror.process()
    waiting = mirror.rows("select error_context from tds.inbox_open order by inbox_id")
    assert len(waiting) == 2
    for row in waiting:
        assert row["error_context"].startswith(WRITER)
        assert "tds.apply_isolated(" in row["error_context"]
    [told] = why(mirror)
    assert told is not None
    assert told.endswith(waiting[0]["error_context"].splitlines()[0])
    mirror.conn.execute("select set_config('tds.fake_now', (now() + interval '2 hours')::text, false)")
    mirror.process()
    dead = mirror.rows(
        "select zoho_id, error_code, error_context from tds_dead_letter_queue order by zoho_id"
    )
    assert [(row["zoho_id"], row["error_code"]) for row in dead] == [
        ("1", "23514"),
        ("2", "23514"),
        ("3", "ZB001"),
    ]
    assert dead[0]["error_context"].startswith(WRITER)
    assert dead[1]["error_context"].startswith(WRITER)
    assert dead[2]["error_context"] is None, "its path says where"
    [told] = why(mirror)
    assert told is not None
    assert WRITER in told


@pytest.mark.parametrize("shape", ["webhook", "list"])
def test_a_body_that_is_not_json_says_in_which_line(mirror: Mirror, shape: str) -> None:
    body = b'{"item": {"item_id": "1",\n "name": oops}}'
    mirror.receive("products", body, shape=shape)
    mirror.process()
    context = mirror.value("select error_context from tds_dead_letter_queue")
    assert context.startswith("JSON data, line 2:")
    assert "document" in context
    assert any(context.splitlines()[0] in (told or "") for told in why(mirror))


def test_a_crash_does_not_keep_the_place_of_an_earlier_failure(database: Database, mirror: Mirror) -> None:
    mirror.receive("products", {"item": product("1")})
    mirror.conn.execute(
        "update tds.inbox_open set error_code = '57014', error = 'e', error_context = 'elsewhere'"
    )
    with psycopg.connect(database.conninfo, autocommit=True) as worker:
        worker.execute("select tds.claim('products', 1)")
    while mirror.value("select tds.free_claims('products')") == 0:
        pass
    assert mirror.rows("select error_code, error_context from tds.inbox_open") == [
        {"error_code": "08006", "error_context": None}
    ]


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("select tds.cron_next('61 * * * *', now(), 'UTC')", "PL/pgSQL function tds.cron_next("),
        ("select 1 / 0", "PL/pgSQL function tds.run_job("),
    ],
)
def test_a_job_that_fails_says_where(
    mirror: Mirror, notices: list[tuple[str | None, str | None, str]], command: str, first: str
) -> None:
    mirror.conn.execute(
        "insert into tds.job (job, schedule, command, description) values ('probe', '0 0 1 1 *', %s, 'a test''s')",
        [command],
    )
    mirror.conn.execute("call tds.run_job('probe')")
    [run] = mirror.rows("select error_code, error, error_context from tds.job_run where job = 'probe'")
    assert first in run["error_context"]
    [(detail, hint, logged)] = notices
    assert detail == run["error_context"]
    assert (hint or "").startswith("select * from tds.job_run")
    assert first in logged


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (None, None),
        ("", ""),
        ('SQL statement "select 1"', ""),
        ("PL/pgSQL function f() line 1 at RETURN", "PL/pgSQL function f() line 1 at RETURN"),
        (
            'SQL statement "select \'a\nPL/pgSQL function\n"x""\'"\nPL/pgSQL function tds.a() line 3 at SQL statement\n'
            'SQL statement "SELECT tds.a()"\nPL/pgSQL function tds.b() line 9 at PERFORM',
            "PL/pgSQL function tds.a() line 3 at SQL statement\nPL/pgSQL function tds.b() line 9 at PERFORM",
        ),
        (
            'JSON data, line 1: {x...\nSQL statement "select $1::jsonb"\nSQL function "c" statement 1',
            'JSON data, line 1: {x...\nSQL function "c" statement 1',
        ),
    ],
)
def test_the_statements_are_left_out(mirror: Mirror, told: str | None, kept: str | None) -> None:
    assert mirror.value("select tds.error_context(%s)", told) == kept


def test_whatever_notes_an_error_notes_where(database: Database) -> None:
    with database.connect() as conn:
        found: list[Any] = conn.execute(
            r"""select p.proname from pg_proc p
                 where p.pronamespace = 'tds'::regnamespace
                   and (p.prosrc ~ 'error_code = ' and p.prosrc ~ 'update tds\.(inbox_open|job_run|dead_letter)\y'
                        or p.prosrc ~ 'insert into tds\.(inbox_open|job_run|dead_letter)\y[^;]*\yerror_code\y'
                        or p.prosrc ~ 'stacked diagnostics')
                   and p.prosrc !~ '(error|exception)_context'"""
        ).fetchall()
    assert found == []
