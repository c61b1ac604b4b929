"""docs/reference.md: what a database of TDS, its settings classes and its commands say of themselves."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import LiteralString

from psycopg import Connection
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import tds_cli
import tds_db
import tds_poller
import tds_receiver
import tds_sandbox
from tds_cli.exits import EXIT_CODES
from tds_db.sqlfiles import DIRECTORY, PACKAGE, read_functions
from tds_db.version import VERSION

WIDTH = 120
HEAD = """\
# Reference

Made from the catalogue of a new database and from the programs themselves by `make docs`, not by hand. TDS {version}.

[Exit codes](#exit-codes) · [Environment](#environment) · [Settings](#settings) · [Roles](#roles) · [SQLSTATEs](#sqlstates) ·
[Functions](#functions) · [Functions of the inside](#functions-of-the-inside) · [Views](#views) · [Tables](#tables)
"""

# The order of db/functions is that of the floors, so of what builds on what.
FUNCTIONS: LiteralString = """\
select p.proname as name,
       case p.prokind when 'p' then 'procedure' else 'function' end as kind,
       pg_get_function_arguments(p.oid) as arguments,
       coalesce(pg_get_function_result(p.oid), '') as result,
       coalesce(obj_description(p.oid, 'pg_proc'), '') as told,
       array(select distinct r.rolname::text
               from aclexplode(p.proacl) a join pg_roles r on r.oid = a.grantee
              where a.privilege_type = 'EXECUTE' and starts_with(r.rolname, 'tds_') and r.rolname <> 'tds_owner'
              order by 1) as roles
  from pg_proc p
 where p.pronamespace = 'tds'::regnamespace
 order by p.proname collate "C", pg_get_function_identity_arguments(p.oid) collate "C"
"""
RELATIONS: LiteralString = """\
select n.nspname || '.' || c.relname as name, coalesce(obj_description(c.oid, 'pg_class'), '') as told,
       array(select r.rolname::text from aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
              where a.privilege_type = 'SELECT' and starts_with(r.rolname, 'tds_') and r.rolname <> 'tds_owner' order by 1) as roles,
       array(select array[a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(col_description(c.oid, a.attnum), '')]
               from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = any (%s) and not c.relispartition
   and (n.nspname = any (%s) and c.relowner = 'tds_owner'::regrole)
   -- the views of the mirror say what its tables say
   and (n.nspname <> 'public' or to_regclass('zoho.' || quote_ident(c.relname)) is null)
 order by n.nspname collate "C" desc, c.relname collate "C"
"""


def reference(conn: Connection) -> str:
    """The whole document.

    Args:
        conn: a new database, as somebody who may read all of it.
    """
    conn.execute("set search_path = pg_catalog, pg_temp")
    parts = [
        HEAD.format(version=VERSION),
        _exit_codes(),
        "\n".join(_environment()),
        "\n".join(_settings(conn)),
        "\n".join(_roles()),
        "\n".join(_sqlstates(conn)),
        "\n".join(_functions(conn)),
        "\n".join(
            _relations(conn, "Views", "The mirror's tables have a view of the same name in `public`.", "v")
        ),
        "\n".join(
            _relations(conn, "Tables", "The mirror (`zoho`), and what TDS keeps for itself (`tds`).", "rp")
        ),
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _exit_codes() -> str:
    lines = EXIT_CODES.replace("\b\n", "").splitlines()[1:]
    return "\n".join(["## Exit codes", "", "Of every command.", "", "```text", *lines, "```"])


def _environment() -> Iterator[str]:
    yield from [
        "## Environment",
        "",
        "Variables that are read; how to write a list or a table is pydantic's.",
        "",
    ]
    for package in (tds_db, tds_receiver, tds_poller, tds_cli, tds_sandbox):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    told: dict[str, tuple[str, str]] = {}
    for settings in sorted(_subclasses(BaseSettings), key=lambda each: (each.__module__, each.__name__)):
        if settings.__module__.partition(".")[0] not in ("tds_db", "tds_receiver", "tds_poller", "tds_cli"):
            continue
        docstrings = _docstrings(settings)
        for name, field in settings.model_fields.items():
            # The first to tell is the one whose it is; others say where to look.
            told.setdefault(_variable(settings, name, field), (_default(field), docstrings.get(name, "")))
    for variable, (default, text) in sorted(told.items()):
        yield from _entry(f"`{variable}`{default}", [], text)


def _subclasses(parent: type[BaseSettings]) -> Iterator[type[BaseSettings]]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


def _variable(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    match field.validation_alias:
        case str(alias):
            return alias
        case AliasChoices(choices=[str(alias), *_]):
            return alias
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def _default(field: FieldInfo) -> str:
    match field.default:
        case _ if field.is_required():
            return ", required"
        case None | SecretStr() | {} | "":
            return ""
        case bool(value):
            return f", default `{str(value).lower()}`"
        case _ if field.default_factory is not None:
            return ""
        case value:
            return f", default `{value}`"


def _docstrings(settings: type) -> dict[str, str]:
    """The string below each field."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(node, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _settings(conn: Connection) -> Iterator[str]:
    yield from ["## Settings", "", "Rows of `tds.setting`, with the values of a new database.", ""]
    rows = conn.execute('select name, value::text, description from tds.setting order by name collate "C"')
    for name, value, text in rows:
        yield from _entry(f"`{name}`, default `{value}`", [], text)


def _roles() -> Iterator[str]:
    yield from [
        "## Roles",
        "",
        "Made by the upgrade, for the whole cluster. Who may call what stands beside each function.",
        "",
    ]
    for name, text in re.findall(
        r"'(tds_\w+)',?\s+-- (.+)", (PACKAGE / "roles.sql").read_text(encoding="utf-8")
    ):
        yield f"- `{name}` {text}"


def _sqlstates(conn: Connection) -> Iterator[str]:
    yield from ["## SQLSTATEs", "", "Errors of TDS's own; DETAIL has the values, HINT the next command.", ""]
    for code, meaning, todo in conn.execute(
        "select code, meaning, next from public.tds_error_codes order by code"
    ):
        yield from _entry(f"`{code}`", [], f"{_sentence(meaning)} Next: {todo}.")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _functions(conn: Connection) -> Iterator[str]:
    written = {
        name
        for file in read_functions(DIRECTORY / "functions")
        for name in re.findall(r"create or replace (?:function|procedure) tds\.(\w+)", file.text)
    }
    rows = conn.execute(FUNCTIONS).fetchall()
    called = [row for row in rows if row[5]]
    inside = [row for row in rows if not row[5] and row[0] in written]
    made = len(rows) - len([row for row in rows if row[0] in written])
    yield from ["## Functions", "", "What a role may call, in schema `tds`.", ""]
    for row in called:
        yield from _function(*row)
    yield from ["", "## Functions of the inside", ""]
    yield from textwrap.wrap(
        f"Called by the functions above, by triggers and jobs, or by tds_owner. {made} more are made from the mapping, some for "
        "each entity: see `tds.build()`.",
        WIDTH,
    )
    yield ""
    for row in inside:
        yield from _function(*row)


def _function(
    name: str, kind: str, arguments: str, result: str, told: str, roles: list[str]
) -> Iterator[str]:
    call = f"{'call ' if kind == 'procedure' else ''}tds.{name}({arguments})"
    returns = f" → `{result}`" if result not in ("", "void") else ""
    yield from _entry(f"`{call}`{returns}", roles, told)


def _relations(conn: Connection, title: str, about: str, kinds: str) -> Iterator[str]:
    yield from [f"## {title}", "", about]
    schemas = ["public", "tds"] if kinds == "v" else ["zoho", "tds"]
    for name, told, roles, columns in conn.execute(RELATIONS, [list(kinds), schemas]):
        yield from ["", f"### {name}", ""]
        yield from textwrap.wrap(f"{told}{_of(roles)}", WIDTH)
        yield ""
        for column, kind, text in columns:
            yield from _entry(f"`{column}` {kind}", [], text)


def _entry(head: str, roles: Iterable[str], text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        f"{head}{_of(roles)}: {' '.join(text.split())}" if text else f"{head}{_of(roles)}",
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _of(roles: Iterable[str]) -> str:
    named = ", ".join(role.removeprefix("tds_") for role in roles)
    return f" ({named})" if named else ""


def renew(conn: Connection, path: Path) -> None:
    """Writes the document."""
    path.write_text(reference(conn), encoding="utf-8")
