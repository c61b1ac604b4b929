"""An ERP's own views on ours, and grants on ours to roles that we do not know: an upgrade keeps them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import errors

from tds_db.errors import SqlFileError
from tds_db.sqlfiles import DIRECTORY, read_migrations
from tds_db.upgrade import dump_sql, upgrade
from tests.db.conftest import Files
from tests.db.servers import Database
from tests.db.test_upgrade import names

ERP = "erp_" + "reports"
OLDEST = "0002_mirror"
"""The first migration with tables of the mirror."""
OLD_VIEWS = """
do $$
declare
    v_table record;
begin
    for v_table in
        select c.relname from pg_class c where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p')
    loop
        execute format('create or replace view public.%1$I as select * from zoho.%1$I', v_table.relname);
    end loop;
end $$;
create or replace view public.tds_locks as select 'a job'::text as lock, 1 as pid;
"""
"""Views as the first versions had them: of all columns of their tables; and one that a migration drops."""


@pytest.fixture
def reader(empty_database: Database) -> Iterator[Database]:
    """A database with a role that TDS knows nothing of."""
    with empty_database.connect(autocommit=True) as conn:
        conn.execute(f"drop role if exists {ERP}".encode())
        conn.execute(f"create role {ERP}".encode())
    yield empty_database
    with empty_database.connect(autocommit=True) as conn:
        conn.execute(f"drop owned by {ERP} cascade".encode())
        conn.execute(f"drop role {ERP}".encode())


@pytest.fixture
def old(reader: Database, tmp_path: Path) -> Database:
    """The oldest database with a mirror: its first migrations, and a view on each of its tables."""
    files = Files(tmp_path)
    for migration in read_migrations(DIRECTORY / "migrations"):
        files.migration(Path(migration.path).name, migration.text)
        if migration.id == OLDEST:
            break
    files.function("90_surface/mirror.sql", OLD_VIEWS)
    upgrade(reader.conninfo, directory=files.directory)
    return reader


def public_views(database: Database) -> list[str]:
    """Our views in public."""
    query = """select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace
                  and c.relkind = 'v' and c.relowner = 'tds_owner'::regrole order by 1"""
    return [str(name) for name in names(database, query)]


def use(database: Database, views: list[str]) -> None:
    """An ERP's views on each, of each kind, with grants, comments, an index, a trigger and grants of columns."""
    with database.connect() as conn:
        conn.execute("create schema erp")
        conn.execute(f"grant usage on schema erp to {ERP}".encode())
        for name in views:
            [column, *_] = [
                column
                for (column,) in conn.execute(
                    "select attname from pg_attribute where attrelid = %s::regclass and attnum = 1",
                    [f"public.{name}"],
                )
            ]
            for statement in (
                "create view erp.{0} as select * from public.{0}",
                "create view erp.{0}_on_top with (security_barrier) as select {1} as first from erp.{0}",
                "create view erp.{0}_{2} {3} as select {1} from public.{0}",
                "create materialized view erp.{0}_kept as select first from erp.{0}_on_top",
                "create index {0}_kept_idx on erp.{0}_kept (first)",
                "comment on view erp.{0} is 'The ERP''s own'",
                "comment on column erp.{0}.{1} is 'Its first'",
                "grant select on erp.{0}, erp.{0}_kept to {4}",
                "grant select (first) on erp.{0}_on_top to {4} with grant option",
                "alter view erp.{0} owner to {4}",
                "grant select, update ({1}) on public.{0} to {4}",
                "grant select on public.{0} to public",
            ):
                security = "with (security_invoker = on)"
                conn.execute(statement.format(name, column, "asked", security, ERP).encode())
        conn.execute(
            "create function erp.nothing() returns trigger language plpgsql as 'begin return null; end'"
        )
        conn.execute(
            f"create trigger instead_of_it instead of update on erp.{views[0]} for each row execute function erp.nothing()".encode()
        )


def seen(database: Database) -> list[Any]:
    """All there is to say of the ERP's views, and of the grants on ours."""
    with database.connect() as conn:
        rows = conn.execute(
            """select n.nspname, c.relname, c.relkind, c.reloptions::text, case when n.nspname = 'erp' then pg_get_viewdef(c.oid) end,
                      pg_get_userbyid(c.relowner), c.relispopulated,
                      array(select concat_ws(' ', x.privilege_type, x.grantee::regrole, x.is_grantable, a.attname)
                              from (select c.relacl as acl, null::name as attname
                                     union all
                                    select a.attacl, a.attname from pg_attribute a where a.attrelid = c.oid) a
                             cross join lateral aclexplode(a.acl) x
                              left join pg_roles r on r.oid = x.grantee
                             where n.nspname = 'erp' or coalesce(r.rolname, '') !~ '^tds_' order by 1),
                      case when n.nspname = 'erp' then array(
                           select coalesce(d.objsubid, 0) || d.description from pg_description d where d.objoid = c.oid order by 1) end,
                      array(select pg_get_indexdef(i.indexrelid) from pg_index i where i.indrelid = c.oid order by 1),
                      array(select pg_get_triggerdef(t.oid) from pg_trigger t where t.tgrelid = c.oid order by 1)
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where c.relkind in ('v', 'm')
                  and (n.nspname = 'erp' or n.nspname = 'public' and c.relacl::text ~ %s)
                order by 1, 2""",
            [ERP],
        )
        return rows.fetchall()


def readable(database: Database) -> None:
    """The ERP's views answer."""
    for name in names(
        database,
        "select oid::regclass::text from pg_class where relnamespace = 'erp'::regnamespace and relkind in ('v', 'm')",
    ):
        names(database, f"select count(*) from {name}")


def test_an_upgrade_from_the_oldest_database_keeps_the_views_of_others(old: Database) -> None:
    use(old, [name for name in public_views(old) if name != "tds_changed_by_hand"])
    assert "tds_locks" in public_views(old), "a migration drops it"
    before = seen(old)
    upgrade(old.conninfo)
    assert seen(old) == before
    readable(old)


def test_an_upgrade_of_today_keeps_views_on_all_of_ours(database: Database, reader_role: str) -> None:
    use(database, public_views(database))
    before = seen(database)
    report = upgrade(database.conninfo)
    assert (report.orphans, report.dropped) == ([], [])
    assert seen(database) == before
    readable(database)


@pytest.fixture
def reader_role(database: Database) -> Iterator[str]:
    """A role that TDS knows nothing of."""
    with database.connect(autocommit=True) as conn:
        conn.execute(f"drop role if exists {ERP}".encode())
        conn.execute(f"create role {ERP}".encode())
    yield ERP
    with database.connect(autocommit=True) as conn:
        conn.execute(f"drop owned by {ERP} cascade".encode())
        conn.execute(f"drop role {ERP}".encode())


ONE = "create or replace view public.thing as select id, note from tds.thing;\n"


@pytest.fixture
def grown(reader: Database, files: Files) -> Database:
    """One view of ours on one table, used by an ERP."""
    files.migration(
        "0002_note.sql", "-- depends: 0001_first\nalter table tds.thing add column note varchar(20);\n"
    )
    files.function("90_surface/thing.sql", ONE)
    upgrade(reader.conninfo, directory=files.directory)
    with reader.connect(autocommit=True) as conn:
        conn.execute("insert into tds.thing values (1, 'one')")
    use(reader, ["thing"])
    return reader


def test_a_migration_that_makes_a_view_anew_sets_the_views_of_others_aside(
    grown: Database, files: Files
) -> None:
    before = seen(grown)
    files.migration(
        "0003_wider.sql",
        "-- depends: 0002_note\ndrop view public.thing;\nalter table tds.thing alter column note type varchar(50);\n",
    )
    upgrade(grown.conninfo, directory=files.directory)
    assert seen(grown) == before
    readable(grown)
    assert names(grown, "select first from erp.thing_kept") == [1]
    assert names(grown, "select note from erp.thing") == ["one"]


def test_the_dump_for_psql_does_the_same(grown: Database, files: Files) -> None:
    before = seen(grown)
    files.migration("0003_wider.sql", "-- depends: 0002_note\ndrop view public.thing;\n")
    script = "".join(dump_sql(applied=["0001_first", "0002_note"], directory=files.directory))
    done = subprocess.run(
        [f"{grown.bin_dir}/psql", "-X", "-q", "-d", grown.conninfo],
        check=False,
        input=script,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert seen(grown) == before


def test_a_view_that_fits_no_more_is_named_and_nothing_changes(grown: Database, files: Files) -> None:
    before = seen(grown)
    files.migration(
        "0003_gone.sql",
        "-- depends: 0002_note\ndrop view public.thing;\nalter table tds.thing drop column note;\n",
    )
    files.function(
        "90_surface/thing.sql", "create or replace view public.thing as select id from tds.thing;\n"
    )
    with pytest.raises(SqlFileError) as raised:
        upgrade(grown.conninfo, directory=files.directory)
    told = f"{raised.value.message} {raised.value.hint}"
    assert "erp.thing uses what this upgrade changes" in told
    assert re.search(r"drop view erp\.thing.*; upgrade; and make it again", told)
    assert seen(grown) == before


def test_what_is_no_view_is_named(grown: Database, files: Files) -> None:
    with grown.connect(autocommit=True) as conn:
        conn.execute("create table erp.copies (thing public.thing)")
    files.migration("0003_wider.sql", "-- depends: 0002_note\ndrop view public.thing;\n")
    with pytest.raises(SqlFileError, match=r"erp\.copies|copies") as raised:
        upgrade(grown.conninfo, directory=files.directory)
    assert isinstance(raised.value.__cause__, errors.DependentObjectsStillExist)
