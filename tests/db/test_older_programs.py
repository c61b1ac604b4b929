"""The programs of an older version on the database that a newer one has upgraded: what they call is there and does the same."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from tests.db.servers import Database

# What receivers, workers, pollers and commands of the state of 2026-11-25 call, taken from a database of that state. An entry
# goes only with a migration that says in its head that it is breaking.
CALLED = json.loads(Path(__file__).with_name("older_programs.json").read_text())
# An older receiver stores with these very words.
RECEIVE = """
    select inbox_id, status
      from tds.receive_many(entity => %b::text[], body => %b::bytea[], organization_id => %b::text[],
                            event => %b::text[], headers => %b::text[]::jsonb[])
     order by ord"""


def answers(conn: psycopg.Connection, signature: str) -> list[str]:
    """What a call with arguments of these types gives, as `name type` of each column, or the one type."""
    name, _, rest = signature.rstrip(")").partition("(")
    arguments = ", ".join(f"null::{each}" for each in filter(None, rest.split(",")))
    kind = conn.execute("select prokind from pg_proc where oid = to_regprocedure(%s)", [signature]).fetchone()
    if kind == ("p",):
        return ["called"]
    # a view is planned, and not run
    try:
        with conn.transaction():
            conn.execute(
                f"create temporary view answer as select * from {name}({arguments}) as result".encode()
            )
    except psycopg.errors.InvalidTableDefinition:  # of no type
        conn.execute(f"prepare answer as select {name}({arguments})".encode())
        conn.execute("deallocate answer")
        return ["void"]
    query = """select attname, format_type(atttypid, atttypmod) from pg_attribute
                where attrelid = 'answer'::regclass and attnum > 0 order by attnum"""
    columns = conn.execute(query).fetchall()
    conn.execute("drop view answer")
    return [of for _, of in columns] if columns[0][0] == "result" else [" ".join(each) for each in columns]


def test_what_older_programs_call_is_there_gives_the_same_and_is_theirs_to_call(database: Database) -> None:
    assert len(CALLED) > 50
    wrong = []
    with database.connect() as conn:
        for signature, told in CALLED.items():
            gives = told["gives"]
            wanted = {column.replace('"position"', "position") for column in gives}
            found = answers(conn, signature)
            named = signature.partition("(")[0].removeprefix("tds.")
            barred = [
                role
                for role in told["roles"]
                if conn.execute(
                    """select bool_or(has_function_privilege(%s, p.oid, 'execute')) from pg_proc as p
                        where p.pronamespace = 'tds'::regnamespace and p.proname = %s""",
                    [role, named],
                ).fetchone()
                != (True,)
            ]
            if barred or (not gives[0].startswith("SETOF") and not wanted <= set(found)):
                wrong.append((signature, gives, found, barred))
    assert not wrong


def test_an_older_receiver_stores_and_an_older_worker_writes(database: Database) -> None:
    bodies = [json.dumps({"item": {"item_id": str(number), "name": "x"}}).encode() for number in range(40)]
    columns = (["products"] * 40, bodies, [None] * 40, ["upsert"] * 40, ["{}"] * 40)
    with database.connect(autocommit=True, role="tds_receiver") as conn:
        stored = conn.execute(RECEIVE, columns, binary=True).fetchall()
        assert {status for _, status in stored} == {"queued"}
    with database.connect(autocommit=True, role="tds_worker") as conn:
        conn.execute("listen tds_inbox")
        [(outcome,)] = conn.execute("call tds.process_batch(NULL, 1000, null)").fetchall()
        assert outcome["applied"] == 40
        assert set(outcome) >= {"claimed", "applied", "unchanged", "stale", "retried", "dead"}
        assert conn.execute("call tds.run_due_jobs(null)").fetchall() == [({},)]
    with database.connect() as conn:
        assert conn.execute("select count(*) from products").fetchone() == (40,)
