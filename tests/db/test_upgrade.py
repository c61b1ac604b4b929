"""The upgrade: what it applies, what it refuses, and that it leaves nothing half done."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tds_db.errors import LockTimeoutError, MigrationError, PrivilegeError, SqlFileError, UpgradeError
from tds_db.models import Change, Pgmq
from tds_db.sqlfiles import DIRECTORY, read_functions
from tds_db.status import status
from tds_db.upgrade import dump_sql, upgrade
from tests.conftest import RUNNING, all_servers
from tests.db.conftest import Files
from tests.db.servers import FAST, Database, PrivateServer, TestServer
from tests.journeys.waiting import wait_until


def names(database: Database, query: str) -> list[object]:
    with database.connect() as conn:
        return [name for (name,) in conn.execute(query.encode())]


def relations(database: Database) -> list[str]:
    return [
        str(name)
        for name in names(
            database, "select oid::regclass::text from pg_class where relnamespace = to_regnamespace('tds')"
        )
    ]


# yoyo's four traps


def test_functions_are_applied_when_no_migration_is(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    files.function(
        "10_layer/one.sql", "create or replace function tds.one() returns int language sql as 'select 2';"
    )
    report = upgrade(empty_database.conninfo, directory=files.directory)
    assert (report.migrations, report.changed_functions) == ([], ["functions/10_layer/one.sql"])
    assert names(empty_database, "select tds.one()") == [2]


def test_functions_lost_in_the_database_come_back(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    with empty_database.connect(autocommit=True) as conn:
        conn.execute("drop function tds.one()")
    upgrade(empty_database.conninfo, directory=files.directory)
    assert names(empty_database, "select tds.one()") == [1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("0002_x.sql", "-- depends: 0009_nowhere\nselect 1;", "depend"),
        ("0002_x.sql", "-- transactional: perhaps\nselect 1;", "cannot be read"),
        ("0002_x.sql", "-- transactional: false\nselect 1;", "one transaction"),
        ("0002_x.sql", "-- depends: 0002_x\nselect 1;", "0002_x"),
        ("0002_x.py", "raise ValueError", "not a numbered SQL migration"),
        ("post-apply.sql", "select 1;", "not a numbered SQL migration"),
    ],
)
def test_a_migration_that_cannot_be_loaded_stops_the_upgrade(
    empty_database: Database, files: Files, name: str, text: str, message: str
) -> None:
    files.migration(name, text)
    with pytest.raises(MigrationError, match=message):
        upgrade(empty_database.conninfo, directory=files.directory)
    assert relations(empty_database) == []


def test_a_migration_read_elsewhere_in_this_process_is_unknown(
    empty_database: Database, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Files(tmp_path_factory.mktemp("other"))
    other.migration("0007_other.sql", "select 1;")
    upgrade(empty_database.conninfo, dry_run=True, directory=other.directory)
    files.migration("0008_x.sql", "-- depends: 0007_other\nselect 1;")
    with pytest.raises(MigrationError, match="0007_other"):
        upgrade(empty_database.conninfo, directory=files.directory)


def test_an_edited_applied_migration_is_refused(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    files.migration("0001_first.sql", "create table tds.thing (id bigint primary key);\n")
    files.migration("0002_second.sql", "create table tds.second ();")
    with pytest.raises(MigrationError) as refused:
        upgrade(empty_database.conninfo, directory=files.directory)
    applied, on_disk = refused.value.message.splitlines()[1:]
    assert "migrations/0001_first.sql was changed" in refused.value.message
    assert applied.startswith("  applied: ")
    assert on_disk.startswith("  on disk: ")
    assert applied[11:] != on_disk[11:]
    assert "new migration" in refused.value.hint
    assert "tds.second" not in relations(empty_database)
    states = [file.state for file in status(empty_database.conninfo, directory=files.directory).migrations]
    assert states == ["changed", "pending"]


def test_line_ends_do_not_count_as_an_edit(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    path = files.directory / "migrations/0001_first.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert upgrade(empty_database.conninfo, directory=files.directory).migrations == []


def test_a_missing_applied_migration_is_refused(empty_database: Database, files: Files) -> None:
    files.migration("0002_second.sql", "-- depends: 0001_first\ncreate table tds.second ();")
    upgrade(empty_database.conninfo, directory=files.directory)
    (files.directory / "migrations/0002_second.sql").unlink()
    with pytest.raises(MigrationError, match="0002_second was applied"):
        upgrade(empty_database.conninfo, directory=files.directory)
    assert status(empty_database.conninfo, directory=files.directory).migrations[1].state == "missing"


def test_a_killed_upgrade_leaves_nothing_behind(empty_database: Database, files: Files) -> None:
    files.migration("0002_slow.sql", "create table tds.slow ();\nselect pg_sleep(60);")
    code = "import sys; from pathlib import Path; from tds_db.upgrade import upgrade; "
    code += "upgrade(sys.argv[1], directory=Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, empty_database.conninfo, str(files.directory)])
    sleeping = (
        "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    )
    try:
        wait_until(lambda: names(empty_database, sleeping), "it sleeps")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The server finds out when the statement ends; that need not take a minute.
    names(empty_database, f"select pg_terminate_backend(pid) from ({sleeping}) as s")
    (files.directory / "migrations/0002_slow.sql").unlink()
    assert upgrade(empty_database.conninfo, directory=files.directory).migrations == ["0001_first"]
    assert [name for name in relations(empty_database) if "slow" in name or "yoyo" in name] == []


# One transaction


def test_twenty_upgrades_at_once_do_the_work_once(empty_database: Database, files: Files) -> None:
    with ThreadPoolExecutor(20) as threads:
        reports = list(
            threads.map(lambda _: upgrade(empty_database.conninfo, directory=files.directory), range(20))
        )
    assert sorted(len(report.migrations) for report in reports) == [0] * 19 + [1]


@pytest.mark.parametrize(
    ("where", "text", "line", "message"),
    [
        ("migration", "create table tds.b ();\n\n-- why\nselect 1 +\n  nowhere;\n", 5, "nowhere"),
        ("migration", "create table tds.b ();\ncreate table tds.b ();\n", 2, "already exists"),
        ("function", "select 1;\nselect 2,\n  nowhere;\n", 3, "nowhere"),
        ("function", "select 1;\n-- why\ncreate schema tds;\n", 3, "already exists"),
        ("function", "select 1;\ndo $$\nbegin\n  nonsense;\nend $$;\n", 4, "syntax error"),
        (
            "function",
            "select 1;\ndo $$ begin raise 'stop' using errcode = 'ZB001'; end $$;\n",
            2,
            "stop.*ZB001",
        ),
    ],
)
def test_an_error_names_file_and_line_and_changes_nothing(
    empty_database: Database, files: Files, where: str, text: str, line: int, message: str
) -> None:
    if where == "migration":
        path = files.migration("0002_broken.sql", text)
    else:
        path = files.function("20_layer/broken.sql", text)
    with pytest.raises(SqlFileError, match=message) as failed:
        upgrade(empty_database.conninfo, directory=files.directory)
    assert (failed.value.path, failed.value.line) == (path.relative_to(files.directory).as_posix(), line)
    assert relations(empty_database) == []


def test_a_lock_is_not_waited_for_long(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    files.migration("0002_alter.sql", "alter table tds.thing add column name text;")
    with empty_database.connect() as holder:
        holder.execute("lock table tds.thing in access share mode")
        with pytest.raises(LockTimeoutError, match=r"0002_alter\.sql:1"):
            upgrade(empty_database.conninfo, directory=files.directory, lock_timeout="50ms")
    assert upgrade(empty_database.conninfo, directory=files.directory).migrations == ["0002_alter"]


def test_after_a_deadlock_it_is_tried_again(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    locked = (
        "select count(*) from pg_locks "
        "where relation = 'tds.thing'::regclass and mode = 'AccessExclusiveLock' and granted"
    )
    waiting = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    files.function("20_layer/locks.sql", "lock table tds.thing; lock table tds.migration in share mode;")
    with empty_database.connect() as other, ThreadPoolExecutor(1) as threads:
        other.execute("set local deadlock_timeout = '1min'")
        other.execute("lock table tds.migration in row exclusive mode")
        upgrading = threads.submit(
            upgrade, empty_database.conninfo, directory=files.directory, lock_timeout="1min"
        )
        wait_until(
            lambda: names(empty_database, locked) != [0] and names(empty_database, waiting),
            "it has one lock, and waits for the other",
        )
        other.execute("lock table tds.thing")
        other.commit()
        assert upgrading.result().changed_functions == ["functions/20_layer/locks.sql"]


def test_a_dry_run_reports_and_changes_nothing(empty_database: Database, files: Files) -> None:
    report = upgrade(empty_database.conninfo, dry_run=True, directory=files.directory)
    assert (report.dry_run, report.migrations, report.functions) == (True, ["0001_first"], 1)
    assert relations(empty_database) == []
    assert not status(empty_database.conninfo, directory=files.directory).current


# The books


def test_status_tells_applied_pending_changed_missing_and_orphans(
    empty_database: Database, files: Files
) -> None:
    files.function("20_layer/two.sql", "create or replace view tds.two as select 2 as two;")
    files.function(
        "30_layer/three.sql", "create or replace procedure tds.three() language sql as 'select 3';"
    )
    upgrade(empty_database.conninfo, directory=files.directory)
    assert status(empty_database.conninfo, directory=files.directory).current

    files.function(
        "10_layer/one.sql", "create or replace function tds.one() returns int language sql as 'select 3';"
    )
    (files.directory / "functions/20_layer/two.sql").unlink()
    files.function("40_layer/four.sql", "select 4;")
    with empty_database.connect(autocommit=True) as conn:
        conn.execute("create function tds.by_hand(a text) returns text language sql as 'select $1'")
    found = status(empty_database.conninfo, directory=files.directory)
    assert not found.current
    assert [(file.name, file.state) for file in found.functions] == [
        ("functions/10_layer/one.sql", "changed"),
        ("functions/30_layer/three.sql", "applied"),
        ("functions/40_layer/four.sql", "pending"),
        ("functions/20_layer/two.sql", "missing"),
    ]
    assert found.orphans == ["function tds.by_hand(text)"]

    report = upgrade(empty_database.conninfo, directory=files.directory)
    assert (report.orphans, report.dropped) == (["function tds.by_hand(text)"], ["view tds.two"])
    assert "tds.two" not in relations(empty_database)


def test_each_file_owns_what_it_creates_not_what_it_grants(empty_database: Database, files: Files) -> None:
    files.function(
        "99_grants/all.sql",
        "grant execute on all functions in schema tds to tds_reader;\n"
        "comment on function tds.one() is 'One.';\nalter function tds.one() stable;",
    )
    files.migration("0002_two.sql", "create function tds.two() returns int language sql as 'select 2';\n")
    for _ in range(2):
        upgrade(empty_database.conninfo, directory=files.directory)
        with empty_database.connect() as conn:
            assert conn.execute("select path, objects from tds.sql_file order by 1").fetchall() == [
                ("functions/10_layer/one.sql", ["function tds.one()"]),
                ("functions/99_grants/all.sql", []),
            ]


def test_an_old_signature_is_dropped(empty_database: Database, files: Files) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    files.function(
        "10_layer/one.sql",
        "create or replace function tds.one(a int) returns int language sql as 'select 1';",
    )
    report = upgrade(empty_database.conninfo, directory=files.directory)
    assert (report.orphans, report.dropped) == ([], ["function tds.one()"])
    assert names(empty_database, "select to_regprocedure('tds.one()') is null") == [True]


# Changed by hand, and made no more

CHAIN = """\
create or replace function tds.a_base(x int) returns int language sql as 'select x';
create or replace view tds.a_view as select tds.a_base(1) as one;
create or replace view public.b_view as select one from tds.a_view;
create or replace function tds.touch() returns trigger language plpgsql as 'begin return new; end';
create or replace trigger touched before insert on tds.thing for each row execute function tds.touch();
create or replace procedure tds.walk() language sql as 'select 1';
"""
MADE = [
    "function tds.a_base(integer)",
    "function tds.touch()",
    "procedure tds.walk()",
    "trigger touched on tds.thing",
    "view public.b_view",
    "view tds.a_view",
]


@pytest.fixture
def chain(empty_database: Database, files: Files) -> Database:
    """A database with one object of each kind, several of which use others."""
    files.function("20_layer/chain.sql", CHAIN)
    upgrade(empty_database.conninfo, directory=files.directory)
    return empty_database


@pytest.mark.parametrize(
    ("by_hand", "changed", "dropped"),
    [
        ("create or replace function tds.a_base(x int) returns int language sql as 'select 2'", [0], []),
        ("alter function tds.a_base(int) immutable", [0], []),
        ("alter function tds.a_base(int) set work_mem = '1MB'", [0], []),
        ("alter function tds.touch() security definer", [1], []),
        ("create or replace procedure tds.walk() language sql as 'select 2'", [2], []),
        ("drop procedure tds.walk()", [], [2]),
        ("alter procedure tds.walk() rename to run", [], [2]),
        ("alter table tds.thing disable trigger touched", [3], []),
        (
            "create or replace trigger touched before update on tds.thing "
            "for each row execute function tds.touch()",
            [3],
            [],
        ),
        ("drop trigger touched on tds.thing", [], [3]),
        ("drop function tds.touch() cascade", [], [1, 3]),
        ("create or replace view public.b_view as select one + 1 as one from tds.a_view", [4], []),
        ("alter view tds.a_view set (security_barrier)", [5], []),
        ("drop view tds.a_view cascade", [], [4, 5]),
    ],
)
def test_what_is_changed_by_hand_is_told_and_set_right(
    chain: Database, files: Files, by_hand: str, changed: list[int], dropped: list[int]
) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute(by_hand.encode())
    found = status(chain.conninfo, directory=files.directory)
    file = "functions/20_layer/chain.sql"
    told = [
        Change(name, "changed" if number in changed else "dropped", file)
        for number, name in enumerate(MADE)
        if number in (*changed, *dropped)
    ]
    assert (found.changed_by_hand, found.applied, found.current) == (told, True, False)
    report = upgrade(chain.conninfo, directory=files.directory)
    assert (report.overwritten, report.dropped) == (told, [])
    assert status(chain.conninfo, directory=files.directory).current


def test_grants_owners_comments_and_doing_the_same_anew_are_no_change(chain: Database, files: Files) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute(CHAIN.encode())
        conn.execute("grant execute on function tds.a_base(int) to tds_reader")
        conn.execute("grant select on tds.a_view to tds_reader")
        conn.execute("comment on view tds.a_view is 'Read me'")
        conn.execute("set search_path = tds, public")
        assert conn.execute("select * from public.tds_changed_by_hand").fetchall() == []
    assert status(chain.conninfo, directory=files.directory).current


ALL_PRINTED = """
    select h.object, case when o.object is null then 'dropped' else 'changed' end
      from tds.sql_hash as h
      left join (select object, hash from tds.sql_object offset 0) as o on o.object = h.object
     where o.hash is distinct from h.hash
     order by h.object
"""
BY_HAND = (
    "grant execute on function tds.a_base(int) to tds_reader",
    "alter table tds.thing rename column at to since",
    "create or replace view tds.seen as select null::timestamptz as at, null::tds.mood as how",
    "alter table tds.thing rename to matter",
    "alter type tds.mood rename to temper",
    "alter function tds.feel(tds.temper) stable",
    "alter function tds.a_base(int) rename to a_basis",
    "alter table tds.matter add column more text",
    "create or replace view public.b_view as select 1 as one",
    "alter table tds.matter rename to thing",
    "vacuum full pg_catalog.pg_proc",
    "create or replace function tds.a_basis(x int) returns int language sql as 'select 3'",
    "drop view tds.seen",
)


def test_what_is_told_is_what_printing_everything_tells(chain: Database, files: Files) -> None:
    """After each change, those of names that others are printed with among them."""
    files.migration(
        "0009_mood.sql",
        "create type tds.mood as enum ('good'); alter table tds.thing add column at timestamptz, add column how tds.mood;",
    )
    files.function(
        "30_layer/mood.sql",
        "create or replace function tds.feel(how tds.mood) returns int language sql as 'select 1';\n"
        "create or replace view tds.seen as select t.at, t.how from tds.thing as t;\n"
        "create or replace trigger told before update of how on tds.thing for each row execute function tds.touch();",
    )
    upgrade(chain.conninfo, directory=files.directory)
    told = list[list[tuple[object, ...]]]()
    with chain.connect(autocommit=True) as conn:
        for statement in BY_HAND:
            conn.execute(statement.encode())
            told.append(
                conn.execute(
                    "select object, change from public.tds_changed_by_hand order by object"
                ).fetchall()
            )
            assert told[-1] == conn.execute(ALL_PRINTED).fetchall(), statement
    assert told[0] == []
    assert ("view tds.seen", "changed") in told[1]
    assert ("trigger told on tds.thing", "dropped") in told[3]
    assert ("function tds.feel(tds.mood)", "dropped") in told[4]
    assert ("view tds.seen", "dropped") in told[-1]


def test_nothing_is_printed_while_nothing_was_touched(chain: Database) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute(
            "create or replace function tds.object_hash(classid oid, objid oid) returns text language plpgsql stable as "
            "$$begin raise 'printed %', objid::regproc; end$$"
        )
        conn.execute("analyze; create table public.of_somebody (x int)")
        assert conn.execute("select * from public.tds_changed_by_hand").fetchall() == []
        conn.execute("grant execute on function tds.a_base(int) to tds_reader")
        with pytest.raises(psycopg.Error, match=r"printed tds\.a_base"):
            conn.execute("select * from public.tds_changed_by_hand")


def test_no_file_drops_what_its_older_self_made() -> None:
    dropping = re.compile(r"^drop (function|procedure|view|trigger)\b", re.MULTILINE)
    assert [file.path for file in read_functions(DIRECTORY / "functions") if dropping.search(file.text)] == []


def test_what_no_file_makes_any_more_goes_whatever_uses_what(chain: Database, files: Files) -> None:
    (files.directory / "functions/20_layer/chain.sql").unlink()
    report = upgrade(chain.conninfo, dry_run=True, directory=files.directory)
    assert (report.dropped, report.orphans, report.overwritten) == (MADE, [], [])
    assert status(chain.conninfo, directory=files.directory).changed_by_hand == []
    report = upgrade(chain.conninfo, directory=files.directory)
    assert (report.dropped, report.orphans, report.overwritten) == (MADE, [], [])
    assert names(chain, "select object from tds.sql_object") == ["function tds.one()"]


def test_what_somebody_elses_view_uses_stays_as_an_orphan(chain: Database, files: Files) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute("create schema erp; create view erp.mine as select one from tds.a_view")
    (files.directory / "functions/20_layer/chain.sql").unlink()
    report = upgrade(chain.conninfo, directory=files.directory)
    assert report.orphans == ["function tds.a_base(integer)", "view tds.a_view"]
    assert report.dropped == [name for name in MADE if name not in report.orphans]
    assert names(chain, "select one from erp.mine") == [1]


def test_a_file_may_move_and_an_object_change_its_file(chain: Database, files: Files) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute("grant execute on function tds.a_base(int) to tds_reader")
    (files.directory / "functions/20_layer/chain.sql").unlink()
    files.function("30_layer/moved.sql", CHAIN)
    report = upgrade(chain.conninfo, directory=files.directory)
    assert (report.dropped, report.orphans) == ([], [])
    assert names(chain, "select has_function_privilege('tds_reader', 'tds.a_base(int)', 'execute')") == [True]


def test_books_that_knew_no_triggers_and_no_hashes_are_taken_over(chain: Database, files: Files) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute("drop view public.tds_changed_by_hand; drop table tds.sql_hash")
        conn.execute(
            "update tds.sql_file set objects = array_remove(objects, 'trigger touched on tds.thing')"
        )
    assert status(chain.conninfo, directory=files.directory).changed_by_hand == []
    files.function("20_layer/chain.sql", CHAIN.replace("touched", "handled"))
    report = upgrade(chain.conninfo, directory=files.directory)
    assert (report.dropped, report.orphans) == (["trigger touched on tds.thing"], [])


def test_another_server_prints_views_differently_and_routines_the_same(chain: Database, files: Files) -> None:
    """As after pg_upgrade, or a dump restored elsewhere."""
    with chain.connect(autocommit=True) as conn:
        conn.execute("update tds.sql_hash set hash = 'x', server_version = 14")
    found = status(chain.conninfo, directory=files.directory).changed_by_hand
    assert [change.object for change in found] == [MADE[0], "function tds.one()", *MADE[1:3]]


def test_a_word_that_only_some_versions_reserve_has_one_name(database: Database) -> None:
    assert names(database, "select object from tds.sql_hash where object ~ 'json_object'") == [
        "function tds.json_object(jsonb)"
    ]


def test_a_made_function_mended_by_hand_is_told(database: Database) -> None:
    assert status(database.conninfo).current
    with database.connect(autocommit=True) as conn:
        (told,) = conn.execute(
            "select pg_get_functiondef(p.oid) from pg_proc as p "
            "where p.proname = 'insert_products' and p.pronamespace = 'tds'::regnamespace"
        ).fetchone() or ("",)
        conn.execute(told.replace("begin", "begin\n    -- mended at night", 1).encode())
        conn.execute("select tds.make_meeting('products')")  # makes what is there already
    (change,) = status(database.conninfo).changed_by_hand
    assert (change.object.partition("(")[0], change.change) == ("function tds.insert_products", "changed")
    assert change.file == "functions/65_made/6_build.sql"
    with database.connect(role="tds_reader") as conn:
        assert conn.execute("select object, change from tds_changed_by_hand").fetchall() == [
            (change.object, "changed")
        ]
    assert upgrade(database.conninfo).overwritten == [change]
    assert status(database.conninfo).current


def test_pgmq_is_installed_and_recorded(database: Database) -> None:
    found = status(database.conninfo)
    assert found.pgmq is not None
    with database.connect() as conn:
        conn.execute("select pgmq.create('q')")
        conn.execute("""select pgmq.send('q', '{"a": 1}')""")
        assert conn.execute("select message from pgmq.read('q', 30, 1)").fetchall() == [({"a": 1},)]
        assert conn.execute("select kind, version from tds.pgmq_install").fetchone() == (
            found.pgmq.kind,
            found.pgmq.version,
        )


def test_the_pgmq_extension_is_preferred_where_the_server_offers_it(offering_pgmq: PrivateServer) -> None:
    database = offering_pgmq.database()
    assert status(database.conninfo).pgmq == Pgmq("extension", "1.99.0")
    with database.connect() as conn:
        assert conn.execute("select pgmq.create('q') is not null, pgmq.send('q', '{}')").fetchone() == (
            True,
            1,
        )


def test_an_extension_of_somebody_elses_needs_grants(offering_pgmq: PrivateServer, files: Files) -> None:
    conninfo = offering_pgmq.server.conninfo()
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("create extension pgmq")
        with pytest.raises(PrivilegeError) as refused:
            upgrade(conninfo, directory=files.directory)
        conn.execute(refused.value.sql.encode())
        assert upgrade(conninfo, directory=files.directory).pgmq == Pgmq("extension", "1.99.0")
        conn.execute("set role tds_owner")
        assert conn.execute("select pgmq.create('q') is not null, pgmq.send('q', '{}')").fetchone() == (
            True,
            1,
        )


def test_a_foreign_pgmq_schema_is_left_alone(empty_database: Database, files: Files) -> None:
    with empty_database.connect(autocommit=True) as conn:
        conn.execute("create schema pgmq")
    with pytest.raises(UpgradeError, match="neither the extension's nor of TDS"):
        upgrade(empty_database.conninfo, directory=files.directory)


# Without a superuser

PASSWORD = "p@ss!word"


@pytest.fixture(params=[leg for leg in RUNNING if leg in ("pg18", "pg15")])
def new_server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A server where nobody has installed TDS yet; its role `plain` owns a database of the same name."""
    private = all_servers(request.config).private(request.param, FAST)
    with psycopg.connect(private.server.conninfo(), autocommit=True) as conn:
        conn.execute(f"create role plain login createdb createrole password '{PASSWORD}'")
        conn.execute("create role poor login password 'poor'")
    with psycopg.connect(as_plain(private, "postgres"), autocommit=True) as conn:
        conn.execute("create database plain")
    yield private
    private.stop()


def as_plain(server: PrivateServer, dbname: str = "plain") -> str:
    return server.server.conninfo(dbname, user="plain", password=PASSWORD)


def test_a_plain_createdb_createrole_role_installs_everything(new_server: PrivateServer) -> None:
    first, second = upgrade(as_plain(new_server)), upgrade(as_plain(new_server))
    assert first.migrations
    assert (second.migrations, second.changed_functions) == ([], [])
    with psycopg.connect(as_plain(new_server)) as conn:
        owners = (
            "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'tds'::regnamespace"
        )
        assert conn.execute(owners).fetchall() == [("tds_owner",)]
        assert conn.execute("select applied_by from tds.migration limit 1").fetchone() == ("plain",)
        login = "select rolname from pg_roles where rolname ~ '^tds_' and rolcanlogin"
        assert conn.execute(login).fetchall() == [("tds_worker",)]
        # whoever owns the inbox may say what Zoho's API answered, whatever roles there are
        conn.execute("set role tds_owner")
        received = "select status from tds.receive('products', '{\"items\": []}', '1', 'poller', 'list')"
        assert conn.execute(received).fetchone() == ("queued",)


def test_without_createrole_the_ddl_is_printed_for_the_administrator(
    new_server: PrivateServer, files: Files
) -> None:
    with psycopg.connect(new_server.server.conninfo(), autocommit=True) as conn:
        conn.execute("create database poor owner poor")
    poor = new_server.server.conninfo("poor", user="poor", password="poor")
    with pytest.raises(PrivilegeError) as refused:
        upgrade(poor, directory=files.directory)
    assert 'grant tds_owner to "poor";' in refused.value.sql
    with psycopg.connect(new_server.server.conninfo(), autocommit=True) as conn:
        conn.execute(refused.value.sql.encode())
    assert upgrade(poor, directory=files.directory).migrations == ["0001_first"]


def test_in_a_database_of_somebody_elses_the_grants_are_printed(
    new_server: PrivateServer, files: Files
) -> None:
    with psycopg.connect(new_server.server.conninfo(), autocommit=True) as conn:
        conn.execute("create database theirs")
    theirs = as_plain(new_server, "theirs")
    with pytest.raises(PrivilegeError) as refused:
        upgrade(theirs, directory=files.directory)
    assert refused.value.sql.splitlines() == [
        "grant create on database theirs to tds_owner;",
        "grant create on schema public to tds_owner;",
    ]
    with psycopg.connect(new_server.server.conninfo("theirs"), autocommit=True) as conn:
        conn.execute(refused.value.sql.encode())
    assert upgrade(theirs, directory=files.directory).migrations == ["0001_first"]


def test_the_maintenance_database_may_be_closed(new_server: PrivateServer, files: Files) -> None:
    with psycopg.connect(new_server.server.conninfo("template1"), autocommit=True) as conn:
        conn.execute("revoke connect on database postgres from public")
    assert upgrade(as_plain(new_server), directory=files.directory).migrations == ["0001_first"]


def test_databases_of_one_new_server_are_upgraded_at_once(new_server: PrivateServer, files: Files) -> None:
    """Roles are shared by all databases, so their creation is kept apart by a lock in `postgres`."""
    with psycopg.connect(new_server.server.conninfo(), autocommit=True) as conn:
        for number in range(8):
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(f"d{number}")))
    with ThreadPoolExecutor(8) as threads:
        reports = threads.map(
            lambda number: upgrade(new_server.server.conninfo(f"d{number}"), directory=files.directory),
            range(8),
        )
        assert [report.migrations for report in reports] == [["0001_first"]] * 8


def test_roles_are_created_under_a_lock_that_all_databases_share(
    new_server: PrivateServer, files: Files
) -> None:
    lock = "select pg_advisory_xact_lock(hashtextextended('tds.upgrade', 0))"
    waiting = (
        "select count(*) from pg_locks as l join pg_database as d on d.oid = l.database "
        "where d.datname = 'postgres' and l.locktype = 'advisory' and not l.granted"
    )
    with ThreadPoolExecutor(1) as threads, psycopg.connect(new_server.server.conninfo()) as holder:
        holder.execute(lock)
        upgrading = threads.submit(upgrade, as_plain(new_server), directory=files.directory)
        wait_until(lambda: holder.execute(waiting).fetchone() == (1,), "it waits")
        assert holder.execute("select from pg_roles where rolname = 'tds_owner'").fetchone() is None
        holder.rollback()
        assert upgrading.result().migrations == ["0001_first"]


# The script for psql


def test_the_dump_run_by_psql_gives_the_same_catalogue(
    test_server: TestServer, empty_database: Database, tmp_path: Path
) -> None:
    script = tmp_path / "upgrade.sql"
    script.write_text("".join(dump_sql()))
    psql = [str(empty_database.bin_dir / "psql"), "-X", "-q", "-f", str(script)]
    done = subprocess.run(psql, env=empty_database.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert status(empty_database.conninfo).current
    with test_server.database() as upgraded:
        assert catalogue(empty_database) == catalogue(upgraded)


def test_a_pending_dump_leaves_out_what_is_applied(
    empty_database: Database, files: Files, tmp_path: Path
) -> None:
    upgrade(empty_database.conninfo, directory=files.directory)
    files.migration("0002_second.sql", "create table tds.second ();")
    script = tmp_path / "upgrade.sql"
    script.write_text("".join(dump_sql(applied=["0001_first"], directory=files.directory)))
    psql = [str(empty_database.bin_dir / "psql"), "-X", "-q", "-f", str(script)]
    done = subprocess.run(psql, env=empty_database.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert status(empty_database.conninfo, directory=files.directory).current


def test_the_dump_tells_whoever_runs_it_what_it_overwrites(
    chain: Database, files: Files, tmp_path: Path
) -> None:
    with chain.connect(autocommit=True) as conn:
        conn.execute("alter function tds.a_base(int) immutable")
        conn.execute("drop procedure tds.walk()")
    script = tmp_path / "upgrade.sql"
    script.write_text("".join(dump_sql(applied=["0001_first"], directory=files.directory)))
    psql = [str(chain.bin_dir / "psql"), "-X", "-q", "-f", str(script)]
    done = subprocess.run(psql, env=chain.environment, capture_output=True, text=True, check=False)
    warnings = [line.partition("WARNING:  ")[2] for line in done.stderr.splitlines() if "WARNING" in line]
    assert (done.returncode, done.stdout, warnings) == (
        0,
        "",
        [
            "set right again: function tds.a_base(integer), which was changed by hand",
            "set right again: procedure tds.walk(), which was dropped by hand",
        ],
    )
    assert status(chain.conninfo, directory=files.directory).current


def catalogue(database: Database) -> tuple[list[str], list[tuple[object, ...]]]:
    """What pg_dump says of the schema, and the books without their times."""
    dump = [str(database.bin_dir / "pg_dump"), "--schema-only"]
    text = subprocess.run(dump, env=database.environment, capture_output=True, text=True, check=True).stdout
    # Newer pg_dumps guard their output by a random key.
    lines = [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
    with database.connect() as conn:
        books = conn.execute("select path, sha256, objects from tds.sql_file order by 1").fetchall()
        books += conn.execute("select object, hash from tds.sql_hash order by 1").fetchall()
        books += conn.execute("select id, content_hash from tds.migration order by 1").fetchall()
        books += conn.execute("select kind, version from tds.pgmq_install").fetchall()
    return lines, books
