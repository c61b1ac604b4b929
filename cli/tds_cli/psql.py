"""`tds psql`: a psql on the right server, the embedded one included."""

import os
import shutil
import subprocess
import sys

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tds_db import embedded
from tds_db.connect import conninfo
from tds_db.errors import TdsError


@click.command("psql", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Opens psql on the database of TDS; the arguments are psql's own."""
    parameters = conninfo_to_dict(conninfo())
    program = _psql_program()
    # A password on the command line would show in the process list.
    environment = dict(os.environ)
    if password := parameters.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    sys.exit(subprocess.call([program, "-d", make_conninfo("", **parameters), *arguments], env=environment))


def _psql_program() -> str:
    """The system's psql, else the embedded package's."""
    packaged = embedded.package_bin_dir() / "psql"
    program = shutil.which("psql") or (str(packaged) if os.access(packaged, os.X_OK) else None)
    if program is None:
        raise TdsError(
            "There is no psql on this machine.", "Install PostgreSQL's client (Debian: postgresql-client)."
        )
    return program
