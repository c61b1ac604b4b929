"""What to tell about an error that is expected: what is wrong, without values (secrets!), and what next."""

import errno
import os
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from pydantic import ValidationError
from pydantic_settings import SettingsError

from tds_db.envfile import env_file
from tds_db.errors import TdsError

LOOK = "Next: tds doctor"
NAMES_NEXT = re.compile(r"\b(?:[Nn]ext|See): ")
AGAIN = "Next: the same command again, which goes on where it stopped; if that does not help: tds doctor"
ZOHO_KEYS = ("ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN", "ZOHO_ORGANIZATION_ID")
# What PostgreSQL says that is nobody's mistake here, and what there is to do.
STATES: Mapping[str, tuple[str, str]] = {
    "3F000": ("TDS is not wholly in this database.", "Next: tds db upgrade"),
    "42P01": ("The database is not the one that this program knows.", "Next: tds db status"),
    "42883": ("The database is not the one that this program knows.", "Next: tds db status"),
    "42703": ("The database is not the one that this program knows.", "Next: tds db status"),
    "53100": (
        "The disk of the database server is full; what was acknowledged is safe.",
        "Make room there (df -h); the view tds_retention tells what is large. " + AGAIN,
    ),
    "53200": ("The database server is out of memory.", AGAIN),
    "53300": (
        "The database server has no connection left.",
        f"Raise max_connections, or end others. {AGAIN}",
    ),
    "25006": (
        "The database is read-only.",
        "Is it a standby? Next: set TDS_DATABASE_URL to the primary, tds doctor",
    ),
    "22023": ("A setting has a value that PostgreSQL does not take.", LOOK),
}
# A time or a length of time that is none: nobody but who types one gives the database such a text.
MISTYPED = {"22007", "22008", "22015"}
ERRNOS: Mapping[int, str] = {
    errno.ENOSPC: "Make room (df -h), then the same command again. Next: tds doctor",
    errno.EDQUOT: "Make room (quota -s), then the same command again. Next: tds doctor",
    errno.EACCES: "Use an account that may, or set TDS_DATA_DIR to a directory of yours. Next: ls -ld",
    errno.EPERM: "Use an account that may, or set TDS_DATA_DIR to a directory of yours. Next: ls -ld",
    errno.EROFS: "Set TDS_DATA_DIR to a directory that can be written. Next: tds doctor",
    errno.ENOTDIR: "Set TDS_DATA_DIR to a directory. Next: ls -ld",
    errno.EEXIST: "Set TDS_DATA_DIR to a directory. Next: ls -ld",
    errno.EMFILE: "Raise the limit of open files. Next: ulimit -n 4096, and the same command again",
}


def explanation(error: Exception, command: str = "tds") -> str | None:
    """The text, with a command that comes next; None: it is of no known kind, so that it is a fault of ours.

    Args:
        error: what was raised.
        command: that raised it: where nothing better is known, its help comes next.
    """
    told = _told(error)
    return told if told is None or NAMES_NEXT.search(told) else f"{told}\nNext: {command} --help"


def _told(error: Exception) -> str | None:
    match error:
        case TdsError():
            return str(error) if error.hint else f"{error.message}\n{LOOK}"
        case ValidationError():
            return _settings(error)
        case SettingsError():
            name = str(error).partition('"')[2].partition('"')[0].upper()
            return f"Settings:\n  ZOHO_{name} must be one JSON object.\n{_mend()}"
        case psycopg.Error():
            return _database(error)
        case OSError():
            return _system(error)
        case UnicodeDecodeError():
            return f"What is given is no text in UTF-8: byte {error.start + 1} is none."
    return None


def problems(error: ValidationError) -> list[tuple[str, str]]:
    """Each variable that is wrong, and what is wrong with it, in our words."""
    # The values stay out of it: they may be secrets.
    return [(_name(found["loc"]), _said(found)) for found in error.errors(include_input=False)]


def _settings(error: ValidationError) -> str:
    found = problems(error)
    lines = [f"{name} {said}." if name else f"{said}." for name, said in found]
    mend = "Next: tds connect" if any(name in ZOHO_KEYS for name, _ in found) else _mend()
    return "\n  ".join(["Settings:", *lines]) + f"\n{mend}"


def _name(place: tuple[int | str, ...]) -> str:
    name = str(place[0]) if place else ""
    return name if name.isupper() or not name else f"TDS_{name.upper()}"


def _said(problem: Mapping[str, Any]) -> str:
    limits: Mapping[str, Any] = problem.get("ctx") or {}
    match str(problem["type"]):
        case "missing" | "string_too_short" | "too_short":
            return "is not set"
        case "value_error":
            return str(limits.get("error", "is not understood"))
        case "greater_than":
            return f"must be greater than {limits['gt']}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}"
        case "less_than":
            return f"must be less than {limits['lt']}"
        case "less_than_equal":
            return f"must be at most {limits['le']}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return "must be a number"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "dict_type":
            return "must be one JSON object"
        case other:
            return f"is not understood ({other.replace('_', ' ')})"


def _mend() -> str:
    path = env_file()
    where = f" or in {path}" if path and path.exists() else ""
    return f"Mend it in the environment{where}. {LOOK}"


def _database(error: psycopg.Error) -> str:
    told = error.diag.message_primary, error.diag.message_detail, error.diag.message_hint
    said = "\n".join(filter(None, told)) or str(error).strip()
    # A standby has no SQLSTATE of its own for what can be no setting there.
    state = "25006" if "during recovery" in said else error.sqlstate
    if state and state in STATES:
        about, hint = STATES[state]
        return f"{error.diag.message_primary}\n{about} {hint}"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = error.diag.message_hint or ""
        if not hint and "pgmq" in (error.diag.message_primary or ""):
            hint = "Queues are read by members of tds_poller and tds_worker."
        return (
            f"{error.diag.message_primary}\nThis login may not do that. {hint}\nNext: tds db roles".replace(
                " \n", "\n"
            )
        )
    if state in MISTYPED:
        return said
    if error.sqlstate and error.sqlstate.startswith("ZB"):
        return said if error.diag.message_hint else f"{said}\n{LOOK}"
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return f"The database cannot be reached: {said}\n{_reach(said)}"
    return f"{said}\n{AGAIN if isinstance(error, psycopg.OperationalError) else LOOK}"


def _reach(said: str) -> str:
    if "database" in said and "does not exist" in said:
        return "Make it there (createdb), or mend TDS_DATABASE_URL. Next: tds db upgrade"
    if "too many connections for " in said:
        whom = "role" if "for role" in said else "database"
        return f"Next: alter {whom} … connection limit -1, as an administrator; then the same command again"
    if "too many clients" in said or "connection slots are reserved" in said:
        return f"Raise max_connections of that server, or end others. {AGAIN}"
    if "password authentication failed" in said or "no password supplied" in said:
        return f"Mend user and password in TDS_DATABASE_URL. {LOOK}"
    if "could not translate host name" in said or "failed to resolve host" in said:
        return f"Mend the host in TDS_DATABASE_URL. {LOOK}"
    return f"Start that server, or mend TDS_DATABASE_URL (unset: TDS runs one of its own). {LOOK}"


def _system(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    hint = ERRNOS.get(error.errno or 0, LOOK)
    return (
        f"{path}: {said}\n{hint} {path}".strip()
        if hint.endswith("ls -ld")
        else f"{path + ': ' if path else ''}{said}\n{hint}"
    )
