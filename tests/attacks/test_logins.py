"""`tds db roles`: each program has a login of its own, and nobody reads its password in the server's log."""

from __future__ import annotations

import json

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from tds_cli.roles import PROGRAMS, roles_command
from tds_db.connect import connect_for_rows
from tests.db.servers import Database


def test_a_login_for_each_program(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    monkeypatch.setattr("tds_cli.roles.LOGINS", LOGINS_OF_THIS)
    run = CliRunner()
    with connect_for_rows("test") as connection:
        name = connection.info.dbname
    told = run.invoke(roles_command, [])
    assert f'create role "receiver_of_{name}" login in role "tds_receiver";' in told.stdout
    made = json.loads(run.invoke(roles_command, ["--make", "--json"], catch_exceptions=False).stdout)
    try:
        assert [each["role"] for each in made] == list(PROGRAMS)
        for each in made:
            given = {"user": each["login"], "password": each["password"]}
            with psycopg.connect(database.dsn(**given)) as login:
                member = login.execute("select pg_has_role(%s, 'member')", [each["role"]]).fetchone()
                assert member == (True,)
                others = [
                    login.execute("select pg_has_role(%s, 'member')", [role]).fetchone() for role in PROGRAMS
                ]
                assert others.count((True,)) == 1
        again = json.loads(run.invoke(roles_command, ["--make", "--json"], catch_exceptions=False).stdout)
        assert [(each["login"], each["password"]) for each in again] == [
            (each["login"], None) for each in made
        ]
    finally:
        with database.connect(autocommit=True) as owner:
            for each in made:
                owner.execute(sql.SQL("drop role {}").format(sql.Identifier(each["login"])))


# Roles are the server's: those of other tests are left out.
LOGINS_OF_THIS = """
    select r.rolname as role, m.rolname as login
      from pg_roles r join pg_auth_members a on a.roleid = r.oid join pg_roles m on m.oid = a.member
     where r.rolname = any (%s) and m.rolname like '%%\\_of\\_' || current_database()"""
