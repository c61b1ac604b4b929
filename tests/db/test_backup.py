"""Backups taken in mid-backlog come back on every server, and go on to the same end."""

from __future__ import annotations

import json
import os
import random
import stat
import zipfile
from pathlib import Path
from unittest.mock import Mock

import psycopg
import pytest
from click.testing import CliRunner

from tds_cli.main import main
from tds_db.backup import BackupError, back_up, forget, read, restore
from tds_db.backups import make
from tests.conftest import RUNNING, all_servers
from tests.db.servers import Database, PrivateServer, TestServer
from tests.sql.conftest import Mirror, product

MOMENTS = int(os.environ.get("TDS_RESTORES", "1"))


def invoice(number: str) -> dict[str, object]:
    """One with a line."""
    line = {"line_item_id": f"{number}1", "item_id": number, "quantity": 1, "rate": 5}
    return {
        "invoice_id": number,
        "invoice_number": f"INV-{number}",
        "customer_id": "1",
        "total": 5,
        "last_modified_time": "2026-01-01T00:00:00+0000",
        "line_items": [line],
    }


END = """
    select 'p', zoho_item_id, name, unit_price::text, sync_version::text from zoho.products
    union all select 'i', zoho_invoice_id, invoice_number, zoho_metadata::text, sync_version::text from zoho.invoices
    order by 1, 2"""
LEDGER = "select status, count(*) from tds_sync_queue group by 1 order by 1"


def with_manifest(backup: Path, copy: Path, **changes: object) -> Path:
    """The same backup, which says something else of itself."""
    manifest = read(backup)
    with zipfile.ZipFile(backup) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            body = source.read(name)
            if name == "manifest.json":
                body = json.dumps(manifest | changes).encode()
            target.writestr(name, body)
    return copy


@pytest.fixture(params=RUNNING)
def target(request: pytest.FixtureRequest) -> TestServer:
    """The server that is restored on."""
    return all_servers(request.config).get(request.param)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_what_is_restored_goes_on_to_the_same_end(
    database: Database, target: TestServer, tmp_path: Path, moment: int
) -> None:
    chance = random.Random(f"{moment}/restore")
    with database.connect(autocommit=True) as conn:
        source = Mirror(conn)
        for number in range(40):
            kind = chance.choice(["products", "invoices", "bad"])
            body = {"item": product(str(chance.randrange(12)), rate=number)}
            if kind == "invoices":
                body = {"invoice": invoice(str(chance.randrange(6)))}
            if kind == "bad":
                body = {"item": product("9", rate="x")}
            source.receive("invoices" if kind == "invoices" else "products", body)
            if chance.random() < 0.3:
                source.process()
        conn.execute("update tds.setting set value = '77' where name = 'api_details_per_minute'")
        conn.execute("update tds.job set in_pg_cron = true")
        backup = back_up(database.conninfo, tmp_path)
        # what comes later is not in it
        source.receive("products", {"item": product("later")})
        assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600
        assert "tds.api_token" not in backup.tables
        conn.execute("delete from tds.inbox where body like '%later%'")
        conn.execute("delete from tds.inbox_open where (inbox_id) not in (select inbox_id from tds.inbox)")
        source.process()
        want, ledger = source.rows(END), source.rows(LEDGER)
    with target.database() as new:
        done = restore(new.conninfo, backup.path)
        assert done.rows == backup.rows
        with new.connect(autocommit=True) as conn:
            copy = Mirror(conn)
            assert copy.value("select value from tds.setting where name = 'api_details_per_minute'") == 77
            copy.process()
            assert copy.rows(END) == want
            assert copy.rows(LEDGER) == ledger
            assert copy.rows("select object from tds_changed_by_hand") == []
            assert copy.value("select not bool_or(in_pg_cron) from tds.job"), "here is none"
            # what comes now gets a number of its own
            copy.receive("products", {"item": product("new")})
            copy.process()
            assert copy.value("select count(*) from zoho.products where zoho_item_id = 'new'") == 1
        with pytest.raises(BackupError, match="The database is not empty"):
            restore(new.conninfo, backup.path)


def test_pgmq_may_be_an_extension_on_either_side(
    request: pytest.FixtureRequest, offering_pgmq: PrivateServer, tmp_path: Path
) -> None:
    with all_servers(request.config).get("pg18").database() as script:
        with script.connect(autocommit=True) as conn:
            Mirror(conn).receive("products", {"item": product("1")})
        there = back_up(script.conninfo, tmp_path / "there")
    extension = offering_pgmq.server.conninfo()
    assert restore(extension, there.path).requeued == 1
    with psycopg.connect(extension, autocommit=True) as conn:
        assert Mirror(conn).value("select kind from tds.pgmq_install") == "extension"
        assert Mirror(conn).process()["applied"] == 1
        Mirror(conn).receive("products", {"item": product("2")})
    back = back_up(extension, tmp_path / "back")
    with all_servers(request.config).get("pg18").database() as script:
        assert restore(script.conninfo, back.path).requeued == 1
        with script.connect(autocommit=True) as conn:
            assert Mirror(conn).value("select kind from tds.pgmq_install") == "sql"
            assert Mirror(conn).process()["applied"] == 1
            assert Mirror(conn).value("select count(*) from zoho.products") == 2


def test_one_that_is_stopped_after_its_rows_are_there_goes_on(
    database: Database, test_server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connect(autocommit=True) as conn:
        Mirror(conn).receive("products", {"item": product("1")})
        conn.execute("update tds.heal_step set description = 'of old'")
    # of other functions, which takes an upgrade once the rows are there
    backup = with_manifest(
        back_up(database.conninfo, tmp_path).path, tmp_path / "old.tdsbackup", functions={}
    )
    with test_server.database() as new:
        with monkeypatch.context() as patch:
            patch.setattr("tds_db.backup.upgrade", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                restore(new.conninfo, backup)
        assert restore(new.conninfo, backup).requeued == 1
        with new.connect(autocommit=True) as conn:
            copy = Mirror(conn)
            assert copy.value("select count(*) from tds.heal_step where description = 'of old'") == 0
            assert copy.process()["applied"] == 1
            assert copy.value("select count(*) from tds.restoring") == 0
        with pytest.raises(BackupError, match="The database is not empty"):
            restore(new.conninfo, backup)


def test_what_was_applied_and_not_yet_finished_is_finished_by_the_copy(
    database: Database, test_server: TestServer, tmp_path: Path
) -> None:
    with database.connect(autocommit=True) as conn, database.connect(autocommit=True) as worker:
        source = Mirror(conn)
        source.receive("invoices", {"invoice": invoice("5")})
        source.process()
        contact = {"contact_id": "1", "contact_name": "A", "contact_type": "customer"}
        source.receive("customers", {"contact": contact})
        # a worker's first two transactions: the invoice is linked by the third
        Mirror(worker).value(
            "select claim_id from tds.claim((select queue from tds.entity where entity = 'customers'), 100)"
        )
        Mirror(worker).value("select counts from tds.apply_claim((select max(claim_id) from tds.claim))")
        linked = "select count(*) from zoho.invoices where customer_id is not null"
        assert (source.value("select count(*) from zoho.contacts"), source.value(linked)) == (1, 0)
        backup = back_up(database.conninfo, tmp_path)
    with test_server.database() as new:
        assert restore(new.conninfo, backup.path).requeued == 1
        with new.connect(autocommit=True) as conn:
            copy = Mirror(conn)
            copy.process()
            assert copy.value(linked) == 1
            assert copy.value("select count(*) from tds.claim") == 0
            assert copy.value("select count(*) from tds.inbox_outcome") == 2


def test_the_command_verifies_and_health_knows(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    monkeypatch.setenv("TDS_DATA_DIR", str(tmp_path))
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        mirror.receive("products", {"item": product("1")})
        old = tmp_path / "backups" / "tds-20200101T000000000000Z.tdsbackup"
        old.parent.mkdir()
        old.touch()
        conn.execute(
            "insert into tds.backup (taken_at, file, bytes, row_count) values ('2020-01-01', %s, 1, 1)",
            [str(old)],
        )
        done = CliRunner().invoke(main, ["backup", "--keep", "1", "--json"])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert (told["verified"], told["removed"]) == (True, [str(old)])
        row = mirror.rows(
            "select file, row_count, verified_at is not null as verified from tds.backup where removed_at is null"
        )
        assert row == [{"file": told["path"], "row_count": told["rows"], "verified": True}]
        looked = "select (tds.check_backup(tds.now() + interval '50 hours')).value"
        assert 49 < float(mirror.value(looked)) < 51
        assert not mirror.value("select count(*) from pg_database where datname like 'tds_verify_%%'")


def test_what_is_damaged_or_another_versions_changes_nothing(database: Database, tmp_path: Path) -> None:
    backup = back_up(database.conninfo, tmp_path).path
    whole = backup.read_bytes()
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], whole[:200] + b"XXXX" + whole[204:]):
        backup.write_bytes(damaged)
        with pytest.raises(BackupError, match=r"no whole backup|damaged"):
            read(backup)
    backup.write_bytes(whole)
    other = with_manifest(backup, tmp_path / "other.tdsbackup", migrations={}, version="0.0.9")
    with pytest.raises(BackupError, match="pip install tds-mirror"):
        restore(database.conninfo, other)
    assert forget(tmp_path, 1, [backup.name]) == []


def test_what_somebody_has_added_hinders_no_restore(
    test_server: TestServer, database: Database, tmp_path: Path
) -> None:
    """An own column, an own table: named, left out, or brought back where they are there first."""
    column = 'alter table zoho.products add column "My note" text collate "C"'
    table = 'create table zoho."My log" (id int generated always as identity, "a b" text)'
    with database.connect(autocommit=True) as conn:
        mirror = Mirror(conn)
        for number in range(20):
            mirror.receive("products", product(str(number), name='a\\b "q" (x),\n\ty'))
        assert mirror.process()["applied"] == 20
        conn.execute(
            f'{column}; {table}; insert into zoho."My log" ("a b") values (E\'x\ty\'), (null)'.encode()
        )
        conn.execute(
            'update zoho.products set "My note" = case when zoho_item_id::int % 3 = 0 then \'a,"b\' '
            "when zoho_item_id::int % 3 = 1 then '' end"
        )
    made = make(database.conninfo, tmp_path, keep=1, verify=True)
    assert (made.verified, made.left_out) == (True, ['zoho."My log"', 'zoho.products."My note"'])
    rows = "select to_jsonb(p) - 'My note' from zoho.products p order by zoho_item_id"
    notes = 'select zoho_item_id, "My note" from zoho.products order by 1'
    with database.connect() as conn:
        as_they_were = conn.execute(rows).fetchall(), conn.execute(notes).fetchall()
    with test_server.database() as new:
        assert restore(new.conninfo, made.backup.path).left_out == made.left_out
        with new.connect() as conn:
            assert conn.execute(rows).fetchall() == as_they_were[0]
    with test_server.database() as new:
        with new.connect(autocommit=True) as conn:
            conn.execute(f"{column}; {table}".encode())
            conn.execute('alter table zoho."My log" owner to tds_owner')
        done = restore(new.conninfo, made.backup.path)
        assert (done.left_out, done.rows) == ([], made.backup.rows)
        with new.connect() as conn:
            assert (conn.execute(rows).fetchall(), conn.execute(notes).fetchall()) == as_they_were
            assert conn.execute('insert into zoho."My log" default values returning id').fetchone() == (3,)
    with test_server.database() as new:
        with new.connect(autocommit=True) as conn:
            conn.execute("create table zoho.theirs (id int); alter table zoho.theirs owner to tds_owner")
        with pytest.raises(BackupError, match=r"lacks what this database has: zoho\.theirs"):
            restore(new.conninfo, made.backup.path)


def test_one_who_is_no_superuser(database: Database, tmp_path: Path) -> None:
    backup = back_up(database.conninfo, tmp_path)
    login = f"restorer_{os.getpid()}"
    with database.connect(autocommit=True) as conn:
        conn.execute(f"create role {login} login createrole password 'pw'")
        conn.execute(f"create database {login} owner {login}")
        roles = "tds_owner, tds_receiver, tds_worker, tds_poller, tds_operator, tds_reader"
        conn.execute(f"grant {roles} to {login} with admin option")
    try:
        own = database.dsn(user=login, password="pw", dbname=login)
        assert restore(own, backup.path).rows == backup.rows
    finally:
        with psycopg.connect(database.conninfo, autocommit=True) as conn:
            conn.execute(f"drop database {login} with (force)")
            conn.execute(f"drop owned by {login}; drop role {login}")
