"""The functions made from the mapping: some of them as text, for review, and where they say they come from."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from tds_db.sqlfiles import DIRECTORY
from tests.db.servers import Database, TestServer
from tests.sql.conftest import Mirror

MADE = Path(__file__).parent / "made"
# A document with lines, a record with hooks and arrays without a table, one without line items, one with two names.
SHOWN = (
    *("insert_invoices", "write_invoices", "write_invoices_line_items", "meet_invoices", "suspects_invoices"),
    *(
        "culprits_invoices",
        "derive_invoices",
        "stored_invoices",
        "link_invoices",
        "check_invoices",
        "compare_invoices",
    ),
    *(
        "insert_products",
        "write_products",
        "culprits_products",
        "derive_products",
        "link_products",
        "compare_products",
    ),
    *("insert_pricelists", "write_pricelists", "culprits_pricelists", "link_pricelists", "insert_customers"),
    *("insert_events", "write_states", "link_rows"),
)
RENEW = "If this is what the mapping is to make: make golden, and look at what git diff shows."


def made(mirror: Mirror, name: str) -> str:
    """A made function as SQL, with its comment."""
    rows = mirror.conn.execute(
        "select pg_get_functiondef(p.oid), format(%s, p.oid::regprocedure, obj_description(p.oid, 'pg_proc'))"
        "  from pg_proc p where p.pronamespace = 'tds'::regnamespace and p.proname = %s",
        ["comment on function %s is\n%L;", name],
    ).fetchall()
    assert len(rows) == 1, f"{name} is made {len(rows)} times"
    definition, comment = rows[0]
    return f"{definition.rstrip()};\n{comment}\n"


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_made_is_as_it_was_reviewed(
    shared: Mirror, test_server: TestServer, name: str, request: pytest.FixtureRequest
) -> None:
    file = MADE / f"{name}.sql"
    now = made(shared, name)
    if request.config.getoption("--golden"):
        file.write_text(now, encoding="utf-8")
        return
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    difference = difflib.unified_diff(
        before.splitlines(), now.splitlines(), f"made/{name}.sql", test_server.leg, lineterm=""
    )
    assert before == now, "\n".join([*difference, RENEW])


def test_no_file_shows_what_is_no_longer_looked_at() -> None:
    assert {file.stem for file in MADE.glob("*.sql")} == set(SHOWN)


def test_every_made_function_names_its_maker_and_its_mapping(database: Database) -> None:
    with database.connect() as conn:
        entities: dict[str, str] = dict(conn.execute("select entity, file from tds.entity").fetchall())
        makers = {
            name
            for (name,) in conn.execute(
                "select proname from pg_proc where pronamespace = 'tds'::regnamespace and proname like 'make\\_%'"
            )
        }
        # what belongs to a file is not made by one: the books know who created or replaced a function last
        comments: dict[str, str] = dict(
            conn.execute(
                # each name is put together once, whatever the tables are believed to hold
                "with written as materialized ("
                "  select p.oid, p.proname, 'function ' || replace(p.oid::regprocedure::text, 'pg_catalog.', '') as object"
                "    from pg_proc p where p.pronamespace = 'tds'::regnamespace and p.prosrc !~ 'tds\\.(make|fill)')"
                "select w.proname, obj_description(w.oid, 'pg_proc') from tds.sql_file f"
                "  cross join lateral unnest(f.objects) u(object) join tds.sql_object o on o.object = u.object"
                "  join written w on w.object = o.object where f.path = 'functions/65_made/6_build.sql'"
            ).fetchall()
        )
    assert len(comments) > 150, "the books do not tell made functions from others any more"
    for name, comment in comments.items():
        told = re.search(r"Made by tds\.(\w+)\(\) from (\S+)\.$", comment)
        assert told, f"{name}: {comment}"
        assert told[1] in makers, f"{name} names no maker: {comment}"
        if told[2] != "tds.entity":
            assert any(
                name.endswith(f"_{entity}") or f"_{entity}_" in name
                for entity, file in entities.items()
                if file == told[2]
            ), f"{name} names the file of another entity: {comment}"


def test_the_registry_knows_the_file_of_each_entity(database: Database) -> None:
    with database.connect() as conn:
        for entity, file in conn.execute("select entity, file from tds.entity"):
            text = (DIRECTORY / file).read_text(encoding="utf-8")
            assert "tds.register" in text, file
            assert re.search(rf"['\"]{entity}['\"]", text), f"{entity} is not in {file}"
