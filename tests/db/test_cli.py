"""`tds db` and `tds psql`: data on stdout, messages on stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tds_cli.main import main
from tds_db import embedded
from tests.db.servers import Database, PrivateServer


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["db", *arguments])


@pytest.fixture
def given(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """An empty database that TDS_DATABASE_URL names."""
    monkeypatch.setenv("TDS_DATABASE_URL", empty_database.conninfo)
    return empty_database


def test_status_says_when_an_upgrade_is_due_and_when_not(given: Database) -> None:
    before = run("status")
    assert (before.exit_code, before.stderr.splitlines()[-1]) == (
        3,
        "The database is not what the files say. Next: tds db upgrade",
    )
    dry = json.loads(run("upgrade", "--dry-run", "--json").stdout)
    done = run("upgrade")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"Applied {len(dry['migrations'])} migrations")
    after = run("status", "--json")
    found = json.loads(after.stdout)
    assert (after.exit_code, found["current"], found["orphans"]) == (0, True, [])
    assert found["pgmq"]["kind"] in ("extension", "sql")
    assert [m["state"] for m in found["migrations"]] == ["applied"] * len(dry["migrations"])
    table = run("status").stdout
    assert "0001_inbox" in table
    assert f"PostgreSQL {found['server_version']}" in table


def test_status_and_upgrade_tell_what_was_changed_by_hand(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    with database.connect(autocommit=True) as conn:
        conn.execute("alter function tds.now() cost 7")
        conn.execute("drop view public.tds_dead_letter_queue")
    found = run("status")
    assert (found.exit_code, found.stderr.splitlines()) == (
        3,
        [
            "The database was changed by hand. What is to stay belongs into the files. "
            "Next: tds db upgrade, which sets it right again"
        ],
    )
    assert "function tds.now()" in found.stdout
    as_json = run("status", "--json")
    told = json.loads(as_json.stdout)
    assert (as_json.exit_code, told["current"]) == (3, False)
    assert [(change["object"], change["change"]) for change in told["changed_by_hand"]] == [
        ("function tds.now()", "changed"),
        ("view public.tds_dead_letter_queue", "dropped"),
    ]
    assert "overwrote function tds.now() (changed by hand)" in run("upgrade", "--dry-run").stdout
    done = run("upgrade")
    assert "overwrote view public.tds_dead_letter_queue (dropped by hand)" in done.stdout
    assert run("status").exit_code == 0


def test_dump_sql_with_pending_leaves_out_what_is_there(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    whole = run("dump-sql")
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert "-- migrations/0001_inbox.sql" in whole.stdout
    assert "-- migrations/" not in run("dump-sql", "--pending").stdout


def test_what_cannot_be_done_is_told_on_stderr(given: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("stop")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "a server that TDS does not run" in refused.stderr
    monkeypatch.setenv("TDS_DATABASE_URL", "host=/nowhere dbname=x")
    unreachable = run("status")
    assert (unreachable.exit_code, unreachable.stdout) == (1, "")
    assert "No such file or directory" in unreachable.stderr


def test_the_embedded_server_starts_and_stops(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TDS_DATABASE_URL", raising=False)
    monkeypatch.setenv("TDS_DATA_DIR", str(server.data_dir))
    server.stop()
    assert "dbname=tds" in run("start").stdout
    assert embedded.is_running(server.data_dir)
    assert run("stop").stderr == "Stopped.\n"
    assert run("stop").stderr == "It was not running.\n"


def test_psql_reaches_the_right_server(given: Database, capfd: pytest.CaptureFixture[str]) -> None:
    done = CliRunner().invoke(main, ["psql", "-X", "-A", "-t", "-c", "select current_database()"])
    assert (done.exit_code, capfd.readouterr().out.strip()) == (
        0,
        given.conninfo.split("dbname=")[1].split()[0],
    )
    assert CliRunner().invoke(main, ["psql", "-X", "-c", "select nonsense"]).exit_code == 1


def test_a_missing_psql_is_named(given: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("tds_db.embedded.package_bin_dir", lambda: tmp_path)
    done = CliRunner().invoke(main, ["psql"])
    assert (done.exit_code, "There is no psql on this machine." in done.stderr) == (1, True)


def test_roles_are_only_told_of_unless_they_are_to_be_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    logins = "select array_agg(rolname order by rolname) from pg_roles where rolcanlogin"
    with database.connect(autocommit=True) as conn:
        before = conn.execute(logins).fetchone()
        told = run("roles")
        assert conn.execute(logins).fetchone() == before
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    assert [line.startswith(("create role ", "-- there is ")) for line in lines] == [True] * 5
    assert lines[0].endswith("-- tds serve")
    assert r"\password" in told.stderr
