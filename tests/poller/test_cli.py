"""The `tds` command: what it prints where, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import psycopg
import pytest

from tds_cli.main import COMMANDS
from tds_poller.zoho.errors import LimitError
from tests.commands import started, tds
from tests.db.servers import Database
from tests.journeys.waiting import PATIENCE
from tests.poller.conftest import Poller
from tests.receiver.conftest import is_ready


def test_help_imports_no_command() -> None:
    code = "import sys, tds_cli.main as cli\ntry: cli.main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "migrate" in done.stdout
    assert "Exit codes:" in done.stdout
    assert not {"httpx", "psycopg", "rich", "pydantic", "starlette"} & set(done.stderr.split())


# Each in a process of its own that has imported nothing of ours but the list of commands. What others wrote, and takes
# most of the time, is imported once.
LOAD = """
import os, sys
import apprise, cryptography.fernet, fastapi, httpx, jinja2, pgmq, prometheus_client, psycopg_pool, pydantic_settings
import rich.progress, starlette.applications, uvicorn, yoyo
from tds_cli.main import COMMANDS, main
for name in COMMANDS:
    sys.stdout.flush()
    if name == "psql":
        continue
    if not (child := os.fork()):
        main([name, "--help"], standalone_mode=False)
        sys.stdout.flush()
        os._exit(0)
    print(name, os.waitpid(child, 0)[1])
"""


def test_every_command_can_be_loaded() -> None:
    command = [sys.executable, "-P", "-c", LOAD]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        if name != "psql":
            assert f"{name} 0\n" in done.stdout, done.stderr
    assert done.stdout.count("Usage:") == len(COMMANDS) - 1


def test_what_is_missing_is_named_and_nothing_secret_shown(environment: dict[str, str]) -> None:
    secret = environment["ZOHO_CLIENT_SECRET"]
    done = tds(
        {k: v for k, v in environment.items() if k != "ZOHO_ORGANIZATION_ID"} | {"ZOHO_DC": "mars"}, "migrate"
    )
    assert done.returncode == 1
    assert "ZOHO_ORGANIZATION_ID is not set" in done.stderr
    assert "ZOHO_DC must be one of com, eu" in done.stderr
    assert "Traceback" not in done.stderr
    assert secret not in done.stderr
    assert done.stdout == ""


def test_a_database_without_tds_names_the_next_command(empty_database: Database) -> None:
    done = tds({"TDS_DATABASE_URL": empty_database.conninfo, "PATH": ""}, "status")
    assert done.returncode == 1
    assert done.stderr.endswith("Next: tds db upgrade\n")


def test_a_computer_whose_clock_is_wrong_pulls_all_the_same(
    poller: Poller, environment: dict[str, str], wrong_clock: dict[str, str]
) -> None:
    done = started(environment | wrong_clock, "pull", "invoices")
    assert done.returncode == 0, done.stderr
    assert "Set this computer's (NTP)" in done.stderr
    with poller.database.connect() as conn:
        assert conn.execute("select state from tds.run").fetchall() == [("complete",)]
        assert conn.execute("select count(*) from tds.wanted_detail").fetchone() == (0,)
        assert conn.execute(
            "select extract(epoch from tds.zoho_now(min(organization_id)) - tds.now()) between -60 and 60 from tds.run"
        ).fetchone() == (True,)


def test_migrate_status_and_dead_letters(poller: Poller, environment: dict[str, str]) -> None:
    done = started(environment, "migrate", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert {row["entity"] for row in answer["pulled"]} >= {"organizations", "products", "pricelists"}
    assert answer["calls"] == poller.sandbox.ledger.summary()["calls"] - 1
    assert "products: 450, done in" in done.stderr

    status = json.loads(tds(environment, "status", "--json").stdout)
    assert {run["state"] for run in status["runs"]} == {"complete"}
    assert [row["status"] for row in status["queue"]] == ["completed"]

    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        connection.execute("""select tds.receive('products', '{"item": {"item_id": "77", "rate": "x"}}')""")
    assert "dead 1" in tds(environment, "process").stdout
    assert tds(environment, "status").returncode == 4
    [letter] = json.loads(tds(environment, "dead", "list", "--json").stdout)
    listed = tds(environment, "dead", "list").stdout
    assert all(str(letter[name]) in listed for name in ("number", "zoho_id", "path")), listed
    assert (letter["entity"], letter["path"], letter["value"]) == ("products", "rate", "x")
    number = str(letter["number"])
    assert json.loads(tds(environment, "dead", "show", number).stdout)["reason"] == letter["reason"]
    for which in ([number], ["--entity", "products"]):
        shown = json.loads(tds(environment, "dead", "replay", *which, "--dry-run", "--json").stdout)
        assert [row["number"] for row in shown["would_send"]] == [letter["number"]]
    assert tds(environment, "dead", "replay", "999999", "--dry-run").returncode == 1
    assert tds(environment, "dead", "replay", number, "999999").returncode == 1
    assert tds(environment, "status").returncode == 4, "nothing was sent"
    sent = json.loads(tds(environment, "dead", "replay", number, number, "--json").stdout)
    assert [row["number"] for row in sent["replayed"]] == [letter["number"]]
    assert "dead 1" in tds(environment, "process").stdout
    assert tds(environment, "dead", "replay", "--entity", "products", "--json").stdout == '{"sent": 1}\n'
    # one whose body is gone has nothing to send: neither command says that it is, or would be, sent
    assert "dead 1" in tds(environment, "process").stdout
    [letter] = json.loads(tds(environment, "dead", "list", "--json").stdout)
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        connection.execute(
            "delete from tds.inbox i using tds.dead_letter d where d.dead_letter_id = %s and i.inbox_id = d.inbox_id",
            [letter["number"]],
        )
    for dry in ([], ["--dry-run"]):
        of_all = tds(environment, "dead", "replay", "--entity", "products", "--json", *dry)
        assert of_all.returncode == 4
        assert of_all.stdout == ('{"would_send": []}\n' if dry else '{"sent": 0}\n')
        assert f"its body is gone: {letter['number']}. Next: tds repair" in of_all.stderr
        of_one = tds(environment, "dead", "replay", str(letter["number"]), *dry)
        assert (of_one.returncode, "ody" in of_one.stderr) == (1, True), of_one.stderr
    # it can only be closed, by somebody and for a reason
    assert tds(environment, "dead", "dismiss", str(letter["number"])).returncode == 2
    assert tds(environment, "dead", "dismiss", str(letter["number"]), "--reason", " ").returncode == 1
    dismissed = tds(
        environment, "dead", "dismiss", str(letter["number"]), "--reason", "lost", "--by", "Ida", "--json"
    )
    assert dismissed.stdout == '{"dismissed": 1}\n'
    shown = json.loads(tds(environment, "dead", "show", str(letter["number"])).stdout)
    assert shown["resolution"] == "dismissed by Ida: lost"
    assert tds(environment, "dead", "list", "--json").stdout == "[]\n"
    assert tds(environment, "dead", "show", "999999").returncode == 1
    assert tds(environment, "dead", "replay").returncode == 2


def test_whoever_has_ended_in_order_does_not_pass_for_silent(
    poller: Poller, environment: dict[str, str]
) -> None:
    """What asks Zoho beats as a poller does; once it is through, no check waits for its next turn."""
    for command in (
        "pull products", "plan", "doctor", "verify taxes --yes", "reconcile", "repair products 1", "images",
        "migrate", "pull sheep", "poll --once",
    ):  # fmt: skip
        ended = tds(environment, *command.split())
        with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
            silent = connection.execute("select program from tds.program where stopped_at is null").fetchall()
            assert silent == [], (command, ended.stderr)
            connection.execute("delete from tds.program")


def test_a_repair_of_what_zoho_has_not_does_not_pass_for_written(
    poller: Poller, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tds(environment, "pull", "products").returncode == 0
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        # two answers in a row prove that it is not there
        connection.execute("update tds.setting set value = '0' where name = 'second_look_seconds'")
        [(there,)] = connection.execute("select min(zoho_item_id) from zoho.products").fetchall()
    done = tds(environment, "repair", "products", there, "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "written": {"products": [there]},
        "absent": {"products": ["1"]},
        "pending": [],
    }
    told = tds(environment, "repair", "products", "1").stdout
    assert told.startswith("Written: none\nNot in Zoho")

    # nor does what nobody can read
    with monkeypatch.context() as patched:
        spoil = poller.sandbox.organisation._spoil
        patched.setattr(
            poller.sandbox.organisation,
            "_spoil",
            lambda record, document, shape: (spoil(record, document, shape), document.update(rate="x")),
        )
        done = tds(environment, "repair", "products", there, "--json")
    [pending] = json.loads(done.stdout)["pending"]
    assert (done.returncode, pending["zoho_id"], pending["error"]) == (4, there, "rate: not a number")
    assert pending["reason"].startswith("dead letter ")
    assert tds(environment, "repair", "products", there).returncode == 0


def test_pull_one_entity(poller: Poller, environment: dict[str, str]) -> None:
    done = tds(environment, "pull", "vendors", "--no-details", "--json")
    assert done.returncode == 0, done.stderr
    [run] = json.loads(done.stdout)
    assert (run["entity"], run["state"], run["details_fetched"]) == ("vendors", "complete", 0)
    done = tds(environment, "pull", "invoices", "pricelists")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Pulled")
    assert "invoices: 20, done in" in done.stderr
    assert "invoices, details: 20, done in" in done.stderr
    asked = len(poller.asked("/invoices"))
    done = tds(environment, "pull", "invoices", "--since", "2099-01-01")
    assert (done.returncode, "is in the future" in done.stderr) == (1, True)
    done = tds(environment, "pull", "invoices", "--incremental", "--json")
    [run] = json.loads(done.stdout)
    assert (run["state"], run["calls"], run["details_fetched"]) == ("complete", 1, 0)
    assert "last_modified_time=" in poller.asked("/invoices")[asked]
    assert tds(environment, "pull", "invoices", "--full", "--incremental").returncode == 2
    unknown = tds(environment, "pull", "sheep")
    assert (unknown.returncode, "select entity from tds.entity" in unknown.stderr) == (1, True)
    refused = tds(environment, "pull", "stock", "--no-details")
    assert (refused.returncode, "Leave out --no-details" in refused.stderr) == (1, True)
    before = poller.sandbox.ledger.summary()["calls"]
    planned = json.loads(tds(environment, "pull", "stock", "invoices", "--dry-run", "--json").stdout)
    assert {row["entity"]: row["detail_calls"] for row in planned["entities"]} == {
        "products": 5,
        "invoices": 0,
    }
    assert poller.sandbox.ledger.summary()["calls"] - before == 2
    poller.sandbox.faults.set(next=["45"])
    done = tds({**environment, "ZOHO_LONGEST_WAIT": "1"}, "pull", "products")
    assert done.returncode == 1
    assert "Run the same command again in" in done.stderr
    assert LimitError.__name__ not in done.stderr


def test_serve_announces_itself_and_stops(environment: dict[str, str]) -> None:
    refused = tds({**environment, "ZOHO_WEBHOOK_SECRET": ""}, "serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "ZOHO_WEBHOOK_SECRET" in refused.stderr
    command = [sys.executable, "-P", "-m", "tds_cli", "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        url = served.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        import httpx

        with httpx.Client(transport=httpx.HTTPTransport(retries=20), trust_env=False) as client:
            client.base_url = url
            assert is_ready(client)
        served.terminate()
        served.communicate(timeout=PATIENCE)
