"""`tds undo`, `tds forget contact` and `tds remember`: shown, done, and told."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tds_cli.main import main
from tests.db.servers import Database
from tests.sql.conftest import Mirror
from tests.sql.test_history import invoice
from tests.sql.test_undo import CUSTOMER, Runs


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    return CliRunner()


def test_a_run_is_shown_and_then_taken_back(run: CliRunner, database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        runs = Runs(Mirror(conn))
        number = runs.pull(
            "invoices", "invoices", [invoice(1, last_modified_time="2026-02-01T09:00:00+0000")]
        )
        shown = run.invoke(main, ["undo", str(number)])
        assert shown.exit_code == 0, shown.output
        assert "removed: 1" in shown.stdout
        assert f"tds undo {number} --yes" in shown.stderr
        assert runs.mirror.value("select count(*) from zoho.invoices") == 1
        done = run.invoke(main, ["undo", str(number), "--yes", "--json"])
        assert [row["action"] for row in json.loads(done.stdout)["records"]] == ["removed"]
        assert runs.mirror.value("select count(*) from zoho.invoices") == 0
    refused = run.invoke(main, ["undo", "4711"])
    assert refused.exit_code == 1


def test_the_next_command_of_an_undo_is_one_that_does_it(run: CliRunner, database: Database) -> None:
    """With a record that is refused nothing at all is done, unless --partly; where all are kept there is nothing to do."""

    def item(number: int, name: str, day: int) -> dict[str, object]:
        stamp = f"2026-02-{day:02}T00:00:00+0000"
        return {"item_id": str(number), "name": name, "rate": 1, "last_modified_time": stamp}

    with database.connect(autocommit=True) as conn:
        runs = Runs(Mirror(conn))
        runs.webhook("products", {"item": item(7, "Cable", 1)})
        changed = str(runs.pull("products", "items", [item(7, "WRONG", 20)]))
        both = str(runs.pull("products", "items", [item(7, "WRONG AGAIN", 21), item(8, "NEW", 21)]))
        shown = run.invoke(main, ["undo", both])
        assert f"Next: tds undo {both} --yes --partly" in shown.stderr
        assert run.invoke(main, ["undo", both, "--yes"]).exit_code == 1
        assert "removed: 1" in run.invoke(main, ["undo", both, "--yes", "--partly"]).stdout
        kept = run.invoke(main, ["undo", changed])
        assert ("kept: 1" in kept.stdout, kept.stderr) == (True, "")
        only = run.invoke(main, ["undo", both])
        assert "--yes" not in only.stderr
        assert "Next: tds pull ENTITY" in only.stderr


def test_a_contact_is_forgotten_and_remembered(run: CliRunner, database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        runs = Runs(Mirror(conn))
        runs.webhook("customers", {"contact": CUSTOMER | {"email": "quill@quillandco.example"}})
        told = run.invoke(main, ["forget", "contact", "5001", "--json"])
        assert told.exit_code == 0, told.output
        assert "quill" not in told.output.lower()
        assert {"what": "contacts kept", "changed": 1}.items() <= {
            k: v for row in json.loads(told.stdout) if row["what"] == "contacts kept" for k, v in row.items()
        }.items()
        name = "select coalesce(name, '') || coalesce(email, '') from zoho.customers"
        assert runs.mirror.value(name) == "[forgotten]"
        assert "is remembered" in run.invoke(main, ["remember", "5001"]).stdout
        assert "is not forgotten" in run.invoke(main, ["remember", "5001"]).stdout
    assert run.invoke(main, ["forget", "contact", "1234"]).exit_code == 1
