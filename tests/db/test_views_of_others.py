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


# The columns of our own bookkeeping, which the views in public had once.

BOOKKEEPING = """
do $$
declare
    v_view record;
begin
    for v_view in
        select c.relname, s.suffix
          from pg_class c cross join (values (''), ('_current'), ('_posted')) s(suffix)
         where c.relnamespace = 'zoho'::regnamespace and c.relkind in ('r', 'p')
           and to_regclass('public.' || c.relname || s.suffix) is not null
    loop
        execute format('drop view public.%I', v_view.relname || v_view.suffix);
        execute format('create view public.%I as select * from zoho.%I', v_view.relname || v_view.suffix, v_view.relname);
    end loop;
end $$;
"""
"""Views as they were before: of all columns."""
USED = {
    "bills": "create view erp.bills as select * from public.bills",
    "credit_notes": "create table erp.credits (note public.credit_notes)",
    "customers_current": "create view erp.versions as select c.sync_version from public.customers_current c",
    "invoices": "create function erp.newest() returns int language plpgsql as "
    "'begin return (select max(sync_rank) from invoices); end'",
    "pricelists": "create table erp.lists (id text); alter table erp.lists enable row level security; "
    "create policy known on erp.lists using (exists (select from public.pricelists p where p.sync_read_at is not null))",
    "products": "create view erp.items as select (a.p).zoho_item_id from (select q as p from public.products q) a "
    "where (a.p).sync_hash is not null",
    "sales_orders": "create function erp.orders() returns bigint begin atomic; select count(sync_event) from public.sales_orders; end",
    "taxes": f"grant select (sync_layers) on public.taxes to {ERP}",
    "vendor_credits": "create function erp.noted() returns trigger language plpgsql as "
    "'begin perform new.sync_observed_at; return null; end'; "
    "create trigger noted instead of update on public.vendor_credits for each row execute function erp.noted()",
    "warehouses": "create rule gone as on delete to public.warehouses do instead notify gone; "
    "create rule moved as on update to public.warehouses where new.sync_version > 2 do instead nothing",
}
"""What an ERP may have on such a column, or on the row type: by the view that has to stay."""
UNUSED = """
create view erp.stock as select name from public.products_current;
create function erp.nothing() returns trigger language plpgsql as 'begin return null; end';
create trigger nothing instead of update on public.vendors for each row execute function erp.nothing();
create rule never as on delete to public.vendors do instead nothing;
alter view public.vendors alter column name set default 'unknown';
create function erp.elsewhere() returns int language sql as 'select max(sync_rank)::int from zoho.currencies';
"""
"""What it may have besides: none of it is lost, and none keeps a column."""
WITH_BOOKKEEPING = """select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname ~ '^sync_'
                       where c.relnamespace = 'public'::regnamespace and c.relkind = 'v' group by 1 order by 1"""
ATTACHED = """
select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 'public.vendors'::regclass and not tgisinternal
 union all select pg_get_ruledef(oid) from pg_rewrite where ev_class = 'public.vendors'::regclass and rulename <> '_RETURN'
 union all select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = 'public.vendors'::regclass"""


@pytest.fixture
def bookkept(database: Database, reader_role: str) -> Database:
    """A database whose views in public have our bookkeeping."""
    with database.connect() as conn:
        conn.execute("set local role tds_owner")
        conn.execute(BOOKKEEPING)
        conn.execute("reset role")
        conn.execute("create schema erp")
        conn.execute(f"grant select, update (name) on public.vendors to {reader_role}".encode())
    assert len(names(database, WITH_BOOKKEEPING)) > 30
    return database


def test_our_bookkeeping_stays_only_where_somebody_uses_it(bookkept: Database) -> None:
    with bookkept.connect() as conn:
        for statement in (*USED.values(), UNUSED):
            conn.execute(statement.encode())
    attached, granted = names(bookkept, ATTACHED), seen(bookkept)
    report = upgrade(bookkept.conninfo)
    assert names(bookkept, WITH_BOOKKEEPING) == sorted(USED)
    told = {(user.view, user.object): user.columns for user in report.machinery_users}
    assert told[("customers_current", "view erp.versions")] == "sync_version"
    assert told[("invoices", "function erp.newest()")] == "sync_rank"
    assert told[("products", "view erp.items")] == "sync_hash"
    assert told[("sales_orders", "function erp.orders()")] == "sync_event"
    assert told[("taxes", f"grant of SELECT to {ERP}")] == "sync_layers"
    assert told[("vendor_credits", "function erp.noted()")] == "sync_observed_at"
    assert told[("pricelists", "policy known on erp.lists")] == "sync_read_at"
    assert told[("warehouses", "rule moved on public.warehouses")] == "sync_version"
    assert told[("credit_notes", "table column erp.credits.note")] == "the whole of it"
    assert told[("bills", "view erp.bills")].count("sync_") == 8
    assert {view for view, _ in told} == set(USED)
    assert names(bookkept, "select object from tds_changed_by_hand") == []
    assert (names(bookkept, ATTACHED), seen(bookkept)) == (attached, granted)
    readable(bookkept)
    # they go when nobody uses them any more, by the script for psql too, if it sets views aside
    with bookkept.connect() as conn:
        conn.execute("drop schema erp cascade")
        conn.execute(f"revoke all on public.taxes from {ERP}".encode())
        conn.execute("drop rule moved on public.warehouses")
    report = upgrade(bookkept.conninfo)
    assert (names(bookkept, WITH_BOOKKEEPING), report.machinery_users) == ([], [])
    assert names(bookkept, "select object from tds_changed_by_hand") == []


def test_the_views_in_public_have_the_columns_that_the_documents_list(database: Database) -> None:
    page = (DIRECTORY.parent / "docs/erp-tables.md").read_text()
    listed = {
        section.split("\n", 1)[0]: " ".join(section.split("\n", 1)[1].split())
        for section in page.split("\n### ")[1:]
    }
    with database.connect() as conn:
        rows = conn.execute(
            """select c.relname, z.relname as base, string_agg(format('`%s` %s', a.attname,
                      replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz')), ', '
                      order by a.attnum)
                 from pg_class z
                 join pg_class c on c.relnamespace = 'public'::regnamespace
                                and c.relname in (z.relname, z.relname || '_current', z.relname || '_posted')
                 join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
                where z.relnamespace = 'zoho'::regnamespace and z.relkind in ('r', 'p') group by 1, 2"""
        ).fetchall()
    assert {base for _, base, _ in rows} == set(listed)
    assert [(view, columns) for view, base, columns in rows if columns != listed[base]] == []
    assert not re.search(r"sync_", "".join(listed.values()))
    times = re.compile(r"`\w*(?:_date|_on|_at|day|effective_from|effective_to)` (?!date|timestamptz)")
    assert not times.findall(" ".join(listed.values())), "a day is a date and a moment a timestamptz"
