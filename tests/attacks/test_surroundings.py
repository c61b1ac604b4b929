"""What stands around the programs: an environment meant for others, a terminal, other accounts of the machine."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from tds_cli import output, terminal, up
from tds_cli.dead import dead
from tds_cli.explain import explain
from tds_db import embedded
from tds_poller.zoho.bounded import BoundedClient
from tds_poller.zoho.settings import ZohoSettings
from tests.db.servers import Database, PrivateServer

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\x7f\u202etxt.exe\x00[bold]"


@pytest.mark.parametrize(
    "meant_for_others",
    [
        {"PGPASSWORD": "another server's"},
        {"PGHOSTADDR": "192.0.2.1"},
        {"PGSSLMODE": "verify-full", "PGGSSENCMODE": "require"},
        {"PGTARGETSESSIONATTRS": "standby"},
        {"PGPASSFILE": "/nonexistent", "PGUSER": "nobody", "PGDATABASE": "nothing", "PGPORT": "1"},
    ],
)
def test_the_embedded_server_is_reached_whatever_the_environment_says(
    server: PrivateServer, monkeypatch: pytest.MonkeyPatch, meant_for_others: dict[str, str]
) -> None:
    for name, value in meant_for_others.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect(server.server.conninfo(), autocommit=True) as conn:
        assert conn.execute("select current_user").fetchone() == ("postgres",)
    assert embedded.is_running(server.data_dir)


def test_logs_are_the_owner_s_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(up, "LOG_BYTES", 200)
    (tmp_path / "logs").mkdir(mode=0o755)
    (tmp_path / "logs" / "program.log").touch(mode=0o644)  # of an older version
    logger = up._logger("program")
    try:
        for number in range(20):
            logger.info("a record's name, and a line of some length: %s", number)
        files = sorted((tmp_path / "logs").iterdir())
        assert len(files) > 2
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
        assert set(modes.values()) == {0o600}, modes
        assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers.clear()


def test_a_terminal_is_shown_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("Records", [{"name": EVIL, "second": "a\tb\nc"}])
    terminal.echo(f"Error: {EVIL}")
    terminal.echo(EVIL, err=True)
    shown = capsys.readouterr()
    record = logging.LogRecord("tds", logging.WARNING, "", 0, "Zoho said %s", (EVIL,), None)
    for text in (shown.out, shown.err, terminal.EscapingFormatter().format(record)):
        assert not terminal.CONTROLS.search(text)
        assert r"\x1b]0;owned\x07" in text
        assert "[bold]" in text
        assert r"\u202e" in text
    assert r"a\tb\nc" in shown.out
    output.print_json({"name": EVIL})
    document = capsys.readouterr().out
    assert not terminal.CONTROLS.search(document)
    assert json.loads(document) == {"name": EVIL}
    # Arabic, and what joins it, stays as it is
    assert terminal.escaped_line("كابل\u200f ‌m") == "كابل\u200f ‌m"


def test_commands_show_records_without_control_characters(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    body = {"item": {"item_id": "1", "name": "Cable \x1b[2J\x9b2J", "rate": "\x1b[31mfree\x9b0m"}}
    with database.connect(autocommit=True) as owner:
        owner.execute("select tds.receive('products', %s, '77')", [json.dumps(body).encode()])
        owner.execute("call tds.process_batch()")
        [number] = owner.execute("select dead_letter_id from tds.dead_letter").fetchone() or [0]
    for command, arguments in (
        (dead, ["list"]),
        (dead, ["list", "--json"]),
        (dead, ["show", str(number)]),
        (explain, ["products", "1"]),
    ):
        done = CliRunner().invoke(command, arguments)
        assert "31mfree" in done.output or command is explain, done.output
        assert not terminal.CONTROLS.search(done.output), arguments


@pytest.mark.parametrize("name", ["api_base", "accounts_base"])
@pytest.mark.parametrize(
    "base",
    [
        "http://zoho.example",
        "http://10.0.0.1:8080",
        "http://127.0.0.1.example",
        "http://user@evil.example",
        "ftp://127.0.0.1",
        "//127.0.0.1",
        "https://",
    ],
)
def test_plain_http_is_for_this_computer_only(name: str, base: str) -> None:
    given = {"client_id": "a", "client_secret": "b", "refresh_token": "c", "organization_id": "1"}
    with pytest.raises(ValidationError, match="must begin with https://"):
        ZohoSettings.model_validate(given | {name: base})


def test_no_redirect_takes_the_secrets_elsewhere() -> None:
    assert BoundedClient().follow_redirects is False
    asked: list[httpx.URL] = []

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(302, headers={"location": "https://elsewhere.example/"}, content=nothing())

    async def ask() -> int:
        async with BoundedClient(transport=httpx.MockTransport(answer)) as client:
            return (await client.get("https://zoho.example/items")).status_code

    assert asyncio.run(ask()) == 302
    assert [url.host for url in asked] == ["zoho.example"]
