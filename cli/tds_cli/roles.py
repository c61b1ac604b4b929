"""`tds db roles`: a login for each program, a member of the role that was made for it."""

import secrets

import click
import psycopg
from psycopg import sql

from tds_cli.options import as_json, must_be_organisation
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
@click.option("--reader", metavar="NAME", help="Instead a login that reads one organisation only: --org.")
@click.option("--org", "organization_id", metavar="ID", help="That organisation.")
@as_json
def roles_command(make: bool, reader: str | None, organization_id: str | None, as_json: bool) -> None:
    """Prints the SQL that makes a login for each program, or makes them.

    A role that has a login already is left alone. With --reader and --org it is one that sees, by the names
    of the public views, the rows of one organisation and nothing else.
    """
    if bool(reader) != bool(organization_id):
        raise click.UsageError("--reader and --org belong together.")
    if reader and organization_id:
        _bound(reader, organization_id, make=make, as_json=as_json)
        return
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


def _bound(reader: str, organization_id: str, *, make: bool, as_json: bool) -> None:
    """Prints the SQL that binds a reader to an organisation, or does it."""
    with connect_for_rows("roles") as connection:
        must_be_organisation(connection, organization_id)
        query = "select 1 from pg_roles where rolname = %s"
        is_there = connection.execute(query, [reader]).fetchone() is not None
        role = sql.SQL("create role {} login").format(sql.Identifier(reader))
        bind = sql.SQL("select tds.bind_reader({}, {}) as views").format(reader, organization_id)
        row: dict[str, object] = {"login": reader, "organization_id": organization_id}
        if make:
            with connection.transaction():
                row["password"] = None if is_there else _made(connection, reader, role)
                row |= connection.execute(bind).fetchone() or {}
        else:
            statements = [bind] if is_there else [role, bind]
            row["sql"] = "; ".join(each.as_string(connection) for each in statements) + ";"
    if as_json:
        print_json(row)
    elif make:
        print_table("Login", [row])
        echo(
            "The password is shown this once." if row["password"] else "Its password is as it was.", err=True
        )
    else:
        echo(str(row["sql"]))
        echo(r"Give it a password with \password in tds psql, or say --make.", err=True)


def _made(connection: psycopg.Connection[dict[str, object]], login: str, statement: sql.Composed) -> str:
    """Makes a login; its password."""
    password = secrets.token_urlsafe(24)
    # The server, and its log, see what it keeps and not the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
    connection.execute(statement + sql.SQL(" password {}").format(verifier.decode()))
    return password


def _login(
    connection: psycopg.Connection[dict[str, object]], role: str, login: str | None, *, make: bool
) -> dict[str, object]:
    row: dict[str, object] = {"role": role, "login": login, "programs": PROGRAMS[role]}
    named = login or f"{role.removeprefix('tds_')}_of_{connection.info.dbname}"
    statement = sql.SQL("create role {} login in role {}").format(sql.Identifier(named), sql.Identifier(role))
    if not make:
        return row | {"login": named, "sql": None if login else statement.as_string(connection) + ";"}
    password = _made(connection, named, statement) if login is None else None
    return row | {"login": named, "password": password}
