"""`tds psql`: a psql on the right server, the embedded one included, and on no other."""

import getopt
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tds_cli.terminal import echo
from tds_db import embedded
from tds_db.connect import conninfo
from tds_db.errors import TdsError

SHORT = "aAbc:d:eEf:F:h:HlL:no:p:P:qR:sStT:U:v:VwWxXz?01"
LONG = [
    "echo-all",
    "no-align",
    "command=",
    "dbname=",
    "echo-queries",
    "echo-errors",
    "echo-hidden",
    "file=",
    "field-separator=",
    "field-separator-zero",
    "host=",
    "html",
    "list",
    "log-file=",
    "no-readline",
    "single-transaction",
    "output=",
    "port=",
    "pset=",
    "quiet",
    "record-separator=",
    "record-separator-zero",
    "single-step",
    "single-line",
    "tuples-only",
    "table-attr=",
    "username=",
    "set=",
    "variable=",
    "version",
    "no-password",
    "password",
    "expanded",
    "no-psqlrc",
    "csv",
    "help",
]
ELSEWHERE = {"-h": "host", "--host": "host", "-p": "port", "--port": "port"}
NO_CONNECTION = 2  # psql's exit code
ITS_OWN = "Next: psql itself, for another server"


@click.command("psql", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Opens psql on the database of TDS; the arguments are psql's own, but for what names another server."""
    program = _psql_program()
    if _only_tells(arguments):
        sys.exit(subprocess.call([program, *arguments]))
    named, rest = _understood(arguments)
    parameters = conninfo_to_dict(conninfo()) | named
    # A password on the command line would show in the process list.
    environment = dict(os.environ)
    if password := parameters.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    code = subprocess.call([program, *rest, "-d", make_conninfo("", **parameters)], env=environment)
    if code == NO_CONNECTION:
        echo("Next: tds doctor", err=True)
    sys.exit(code)


def _only_tells(arguments: Sequence[str]) -> bool:
    """Whether psql itself would only tell its usage or its version: no server is needed for that."""
    tells = ("-?", "-V", "--version", "--help")
    return any(argument in tells or argument.startswith("--help=") for argument in arguments)


def _understood(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What of the arguments says where to connect, and the others.

    Raises:
        TdsError: they name another server, or are none of psql's.
    """
    try:
        options, names = getopt.gnu_getopt(list(arguments), SHORT, LONG)
    except getopt.GetoptError as error:
        raise TdsError(f"psql: {error}.", "Next: tds psql --help") from None
    named: dict[str, str] = {}
    rest: list[str] = []
    for option, value in options:
        if option in ELSEWHERE:
            raise TdsError(
                f"tds psql opens the server of TDS; {option} names a {ELSEWHERE[option]}.", ITS_OWN
            )
        if option in {"-d", "--dbname"}:
            names = [value, *names]
        elif option in {"-U", "--username"}:
            named["user"] = value
        elif option.startswith("--"):
            rest.append(f"{option}={value}" if f"{option[2:]}=" in LONG else option)
        else:
            rest += [option, value] if f"{option[1]}:" in SHORT else [option]
    if names:
        if "=" in names[0] or "://" in names[0]:
            told = "tds psql opens the server of TDS; a connection string names another."
            raise TdsError(told, ITS_OWN)
        named["dbname"] = names[0]
    if len(names) > 1:
        named["user"] = names[1]
    if len(names) > 2:
        raise TdsError(
            f"psql takes a database and a user, and here are {len(names)} names.", "Next: tds psql --help"
        )
    return named, rest


def _psql_program() -> str:
    """The system's psql, else the embedded package's."""
    found = shutil.which("psql")
    packaged: Path | None = None if found else embedded.package_bin_dir() / "psql"
    if packaged is not None and os.access(packaged, os.X_OK):
        found = str(packaged)
    if found is None:
        raise TdsError(
            "There is no psql on this machine.",
            "Next: install PostgreSQL's client (Debian: apt-get install postgresql-client)",
        )
    return found
