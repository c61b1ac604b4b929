"""`tds deletions`: what is decided is what is held."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tds_cli.main import main
from tests.db.servers import Database


@pytest.mark.parametrize("verb", ["confirm", "refuse"])
def test_nothing_is_decided_of_what_is_not_held(
    database: Database, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    with database.connect(autocommit=True) as conn:
        conn.execute("update tds.setting set value = '\"748139205\"' where name = 'organization_id'")
    done = CliRunner().invoke(main, ["deletions", verb, "products", "4711"])
    assert (done.exit_code, "None of these products is held back." in done.output) == (1, True)
    all_held = CliRunner().invoke(main, ["deletions", verb, "products"])
    assert (all_held.exit_code, all_held.output.split()[0]) == (0, "0")
