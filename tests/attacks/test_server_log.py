"""A server that logs all it can, every statement with its parameters, every plan, logs no secret."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tests.db.servers import Database
from tests.poller.conftest import Poller, poller

__all__ = ["poller"]

TALKATIVE = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_min_error_statement": "debug5",
    "log_error_verbosity": "verbose",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_verbose": "on",
}


@pytest.fixture
def log(database: Database) -> Path:
    """The server's log, from now on of all that is done in this database."""
    passfile = conninfo_to_dict(database.conninfo).get("passfile")
    if passfile is None:
        pytest.skip("the log of this server is not here")
    with database.connect(autocommit=True) as owner:
        name = sql.Identifier(owner.info.dbname)
        owner.execute("load 'auto_explain'")
        for setting, value in TALKATIVE.items():
            owner.execute(
                sql.SQL("alter database {} set {} = {}").format(
                    name, sql.SQL(".").join(map(sql.Identifier, setting.split("."))), value
                )
            )
    return Path(str(passfile)).parent / "pgdata" / "start.log"


def test_no_access_token_is_in_the_server_s_log(log: Path, poller: Poller, database: Database) -> None:
    async def work(client: ZohoClient, _: Mirror) -> str:
        await client.get("/items", {})
        return (await client.token()).secret

    secrets = [poller.run(work)]
    # and one that Zoho no longer takes, which is told to the database as well
    poller.sandbox.sandbox.oauth.revoke_tokens()
    secrets.append(poller.run(work))
    assert len(set(secrets)) == 2
    secrets += [poller.sandbox.environment[f"ZOHO_{name}"] for name in ("REFRESH_TOKEN", "CLIENT_SECRET")]
    written = log.read_text(errors="replace")
    for shown in ("tds.store_access_token(", "arameters: $1 = ", "insert into tds.api_token"):
        assert shown in written, shown
    with database.connect(autocommit=True) as owner:
        [kept] = owner.execute("select access_token from tds.api_token").fetchone() or [""]
        everything = owner.execute("select string_agg(t::text, '') from tds.api_token t").fetchone()
    assert kept in written
    for secret in secrets:
        assert secret
        assert secret not in written
        assert secret not in str(everything)


def test_what_another_key_sealed_is_replaced(poller: Poller, database: Database) -> None:
    async def work(client: ZohoClient, _: Mirror) -> str:
        await client.get("/items", {})
        return (await client.token()).secret

    first = poller.run(work)
    with database.connect(autocommit=True) as owner:
        owner.execute("update tds.api_token set access_token = %s", [first])
    assert poller.run(work) != first
    assert poller.sandbox.ledger.by_path["POST /oauth/v2/token"] == 2
    assert poller.sandbox.ledger.by_status["401"] == 0


def test_no_api_key_is_in_the_server_s_log(log: Path, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        [key] = owner.execute("select tds.create_api_key('somebody')").fetchone() or [""]
        [name] = owner.execute(
            "select tds.check_api_key(%s)", [hashlib.sha256(key.encode()).digest()]
        ).fetchone() or [""]
    assert name == "somebody"
    written = log.read_text(errors="replace")
    assert "insert into tds.api_key" in written
    assert key not in written
