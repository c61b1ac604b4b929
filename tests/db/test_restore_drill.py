"""A share of `python -m benchmarks.restore_drill`: a backup of a random moment under load, a restore that is killed, and one more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.restore_drill import Load, Place, by_sql, check, differences, drain, end_of, prepare
from tests.conftest import RUNNING, all_servers
from tests.db.servers import Database

SEED = os.environ.get("TDS_SEED", "share")


def test_what_is_restored_under_load_ends_as_its_source(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path
) -> None:
    local = [leg for leg in ("pg15", "pg18") if leg in RUNNING]
    # on the other server, where there are two
    leg = next((leg for leg in local if leg != database.leg), local[0])
    target = Place(leg, all_servers(request.config).get(leg).conninfo)
    prepare(database.conninfo)
    with Load(database.conninfo, by_sql(database.conninfo), f"{SEED}/{database.leg}") as load:
        moment = load.moment(tmp_path, backlog=True)
        load.another()
    assert moment.backup.tables["tds.inbox_open"] > 0
    with database.connect(autocommit=True) as conn:
        drain(conn)
        end = end_of(conn)
    assert {name for name, rows in end.items() if rows} >= {
        "zoho.products",
        "zoho.invoices",
        "dead letters",
        "wants",
        "held deletions",
    }
    with target.database(own=database.leg == "pg15") as empty:
        outcome = check(moment, database.conninfo, end, empty, killed_after=0.1)
    assert outcome.wrong == []
    assert outcome.later > 0
    assert differences(end, {name: [] for name in end}), "a difference is seen"
