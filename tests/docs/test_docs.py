"""The documents are what the programs say now, and speak of one version."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Route

from tds_cli.main import COMMANDS, main
from tds_db.status import status
from tds_db.version import VERSION
from tds_poller.zoho.scopes import scope_string
from tds_receiver.api.app import Api
from tds_receiver.api.settings import ApiSettings
from tds_receiver.images import image_routes
from tds_receiver.metrics import Metrics
from tests.conftest import all_servers
from tests.docs.commands import Story, commands, settle
from tests.docs.health import health
from tests.docs.reference import reference

ROOT = Path(__file__).parents[2]
STALE = "{} is not what the programs say now: run `make docs`, and look at what has changed"


def test_the_reference_is_up_to_date(request: pytest.FixtureRequest) -> None:
    with all_servers(request.config).get("pg18").database() as database, database.connect() as conn:
        page = (ROOT / "docs/reference.md").read_text()
        assert page == reference(conn), STALE.format("docs/reference.md")
        told = conn.execute(
            """select d.description from pg_description d join pg_class c on c.oid = d.objoid
                where d.classoid = 'pg_class'::regclass and d.objsubid > 0 and c.relkind in ('r', 'v')
                  and c.relnamespace = 'tds'::regnamespace and not c.relispartition"""
        ).fetchall()
    whole = " ".join(page.split())
    assert [text for (text,) in told if " ".join(text.split()) not in whole] == []


def test_the_tables_of_health_are_up_to_date(request: pytest.FixtureRequest) -> None:
    page = (ROOT / "docs/health.md").read_text()
    with all_servers(request.config).get("pg18").database() as database, database.connect() as conn:
        assert page == health(page, conn), STALE.format("docs/health.md")
        checks = conn.execute("select check_name from tds.health_check").fetchall()
    assert all(f"| `{name}` |" in page for (name,) in checks)


def test_the_screens_are_up_to_date(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    page = (ROOT / "docs/commands.md").read_text()
    with (
        all_servers(request.config).get("pg18").database() as database,
        Story(database, tmp_path).told() as story,
    ):
        assert page == commands(page, story), STALE.format("docs/commands.md")


def test_getting_started_has_the_scopes_and_commands_that_there_are() -> None:
    page = (ROOT / "docs/getting-started.md").read_text()
    assert scope_string() in page.splitlines()
    named = set(re.findall(r"tds ([a-z]+)(?: ([a-z]+))?(?= |`|$)", page, re.MULTILINE))
    assert {name for name, _ in named if name in COMMANDS} >= {
        "connect",
        "up",
        "plan",
        "migrate",
        "webhooks",
        "doctor",
    }
    lines = re.findall(r"^\$ (?:[^#\n|]*\| )?tds ([^#&\n]*)", page, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        assert shlex.split(line)[0] in COMMANDS


def test_what_varies_is_shown_the_same() -> None:
    one = "bills: 4 of 30 in 3.2 s\nbills: 30, done in 3.4 s, 9/s\ntaxes: 2, done in 0.1 s\nx  \n"
    other = "taxes: 2, done in 12.1 s\nbills: 30, done in 0.0 s\nx\n"
    assert settle(one) == settle(other)


def test_the_version_is_in_one_place(request: pytest.FixtureRequest) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version == VERSION, "run make setup"
    assert version in CliRunner().invoke(main, ["--version"]).output
    api = Api(ApiSettings(), "dbname=nowhere", Metrics())
    assert api.app.openapi()["info"]["version"] == version
    with all_servers(request.config).get("pg18").database() as database:
        assert status(database.conninfo).version == version
    released = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == version


def test_every_route_is_in_the_document_but_pages(tmp_path: Path) -> None:
    api = Api(ApiSettings(), "dbname=nowhere", Metrics())
    told = set(api.app.openapi()["paths"])
    own = {route.path for route in (*api.routes, *image_routes(str(tmp_path))) if isinstance(route, Route)}
    pages = {path for path in own if path == "/" or path.startswith(("/dashboard", "/docs", "/assets"))}
    within = {
        route.path
        for router in api.app.routes
        for route in getattr(router, "original_router", APIRouter()).routes
        if isinstance(route, APIRoute)
    }
    assert {"/{name}", "/runs/{run_id}/cancel", "/metrics"} <= within
    hidden = {path for path in own - pages if "{rest:path}" not in path} - told
    assert hidden == {"/openapi.json"}
    prefixes = ("", "/api/zoho/bulk-sync")
    assert [path for path in within if not {prefix + path for prefix in prefixes} & told] == []
