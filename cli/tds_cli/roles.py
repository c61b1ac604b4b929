"""`tds db roles`: a login for each program, a member of the role that was made for it."""

import secrets

import click
import psycopg
from psycopg import sql

from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows

PROGRAMS = {
    "tds_receiver": "tds serve",
    "tds_worker": "tds work",
    "tds_poller": "tds poll, pull, migrate, plan, verify, images",
    "tds_operator": "tds doctor, status, health, heal, dead, deletions, explain, keys",
    "tds_reader": "dashboards, reports",
}
LOGINS = """
    select r.rolname as role, m.rolname as login
      from pg_roles r
      join pg_auth_members a on a.roleid = r.oid
      join pg_roles m on m.oid = a.member and m.rolcanlogin and not m.rolsuper
     where r.rolname = any (%s)
       -- whoever installs is a member of what it made, and no program's login
       and not pg_has_role(m.oid, 'tds_owner', 'member')
     order by 1, 2"""


@click.command("roles")
@click.option(
    "--make", is_flag=True, help="Make the logins that are missing, and print their passwords once."
)
@as_json
def roles_command(make: bool, as_json: bool) -> None:
    """Prints the SQL that makes a login for each program, or makes them.

    A role that has a login already is left alone.
    """
    with connect_for_rows("roles") as connection:
        found: dict[str, str] = {}
        for row in connection.execute(LOGINS, [list(PROGRAMS)]).fetchall():
            found.setdefault(row["role"], row["login"])
        rows = [_login(connection, role, found.get(role), make=make) for role in PROGRAMS]
    if as_json:
        print_json(rows)
    elif make:
        print_table("Logins", rows)
        echo("Passwords are shown this once: put each into its program's TDS_DATABASE_URL.", err=True)
    else:
        for row in rows:
            echo(f"{row['sql'] or '-- there is ' + str(row['login'])}  -- {row['programs']}")
        echo(r"Give each a password with \password in tds psql, or say --make.", err=True)


def _login(
    connection: psycopg.Connection[dict[str, object]], role: str, login: str | None, *, make: bool
) -> dict[str, object]:
    row: dict[str, object] = {"role": role, "login": login, "programs": PROGRAMS[role]}
    named = login or f"{role.removeprefix('tds_')}_of_{connection.info.dbname}"
    statement = sql.SQL("create role {} login in role {}").format(sql.Identifier(named), sql.Identifier(role))
    if not make:
        return row | {"login": named, "sql": None if login else statement.as_string(connection) + ";"}
    password = None
    if login is None:
        password = secrets.token_urlsafe(24)
        # The server, and its log, see what it keeps and not the password.
        verifier = connection.pgconn.encrypt_password(password.encode(), named.encode(), b"scram-sha-256")
        connection.execute(statement + sql.SQL(" password {}").format(verifier.decode()))
    return row | {"login": named, "password": password}
