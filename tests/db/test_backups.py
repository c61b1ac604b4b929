"""Backups by the clock: asked for by a job, made by whoever may, noted, and health knows of those that are late or failed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from tds_cli.main import main
from tds_db.backup import BackupError, restore, scratch, set_aside
from tds_db.backups import Taking, make, take_due
from tests.db.servers import Database, TestServer
from tests.journeys.waiting import PATIENCE
from tests.sql.conftest import Mirror

FAILURES = "select (tds.check_backup_failed(tds.now())).value"
AGE = "select (tds.check_backup(tds.now() + %s::interval)).value::float"


@pytest.fixture
def mirror(database: Database) -> Iterator[Mirror]:
    with database.connect(autocommit=True) as conn:
        yield Mirror(conn)


@pytest.fixture
def place(mirror: Mirror, tmp_path: Path) -> Path:
    """Where the clock has them made; not verified, which other tests do."""
    mirror.conn.execute("select tds.schedule_backups(%s, 2, null, false)", [str(tmp_path / "kept")])
    return tmp_path / "kept"


def want(database: Database) -> None:
    """The job is run with a worker's rights."""
    with database.connect(autocommit=True, role="tds_worker") as conn:
        assert conn.execute("call tds.run_job('request_backup')").fetchone() == ("done",)


def test_nobody_makes_one_until_somebody_says_where_to(mirror: Mirror, database: Database) -> None:
    want(database)
    assert take_due(database.conninfo) == ("not scheduled", None)
    assert mirror.value(AGE, "100 days") == 0
    assert "backup_directory is null" in mirror.value("select (tds.check_backup(tds.now())).told")


def test_the_clock_has_one_made(mirror: Mirror, database: Database, place: Path) -> None:
    assert take_due(database.conninfo) == ("not due", None)
    for _ in range(3):
        want(database)
        outcome, made = take_due(database.conninfo)
        assert (outcome, made is not None and made.verified) == ("taken", False)
    kept = sorted(place.glob("*.tdsbackup"))
    assert len(kept) == 2
    assert [
        Path(row["file"]) for row in mirror.rows("select file from tds_backups where state = 'written'")
    ] == kept
    assert mirror.rows(
        "select state, removed_at is not null as gone from tds_backups where state <> 'written'"
    ) == [{"state": "removed", "gone": True}]
    assert take_due(database.conninfo) == ("not due", None)
    # daily: its age
    assert 35 < mirror.value(AGE, "36 hours") < 37


@pytest.mark.parametrize(
    ("schedule", "made", "looked", "hours"),
    [
        ("15 2 * * *", "2026-06-05 02:16", "2026-06-06 14:16", 36),
        # once a week; on a Monday after a Friday's; on the last of months that have one, two months apart
        ("15 2 * * 0", "2026-06-07 02:16", "2026-06-14 02:16", 24),
        ("15 2 * * 1-5", "2026-06-05 02:16", "2026-06-08 02:16", 24),
        ("15 2 * * 1-5", "2026-06-05 02:16", "2026-06-08 14:16", 36),
        ("15 2 * * 1-5", "2026-06-08 02:16", "2026-06-09 14:16", 36),
        ("15 2 31 * *", "2026-05-31 02:16", "2026-07-31 02:16", 24),
        # made just before its time, by a clock that is a little behind
        ("15 2 * * 0", "2026-06-07 02:14", "2026-06-14 02:14", 24),
    ],
)
def test_days_without_a_backup_make_none_late(
    mirror: Mirror, place: Path, schedule: str, made: str, looked: str, hours: int
) -> None:
    mirror.conn.execute("update tds.job set schedule = %s where job = 'request_backup'", [schedule])
    mirror.conn.execute(
        "insert into tds.backup (taken_at, file, bytes, row_count) values (%s::timestamp at time zone 'UTC', 'f', 1, 1)",
        [made],
    )
    age = mirror.value("select (tds.check_backup(%s::timestamp at time zone 'UTC')).value::float", looked)
    assert age == pytest.approx(hours, abs=0.1)


def test_one_that_fails_is_told_and_tried_again(mirror: Mirror, database: Database, place: Path) -> None:
    place.touch()  # no directory can be made there
    for failures in (1, 2):
        want(database)
        with pytest.raises(BackupError, match=str(place)):
            take_due(database.conninfo)
        assert mirror.value(FAILURES) == failures
        assert take_due(database.conninfo) == ("failed lately", None)
    assert mirror.rows("select state, file from tds_backups limit 1") == [
        {"state": "failed", "file": str(place)}
    ]
    assert mirror.value("select tries from tds.backup_wanted") == 2
    # none was ever made: late since it was wanted
    assert 49 < mirror.value(AGE, "50 hours") < 51
    place.unlink()
    mirror.conn.execute("update tds.backup_wanted set not_before = now()")
    assert take_due(database.conninfo)[0] == "taken"
    assert mirror.value(FAILURES) == 0
    assert mirror.value("select count(*) from tds.backup_wanted") == 0


def test_whoever_may_makes_it_and_only_one(mirror: Mirror, database: Database, place: Path) -> None:
    want(database)
    due = "select tds.backup_due()"
    assert mirror.value(due)
    login = f"worker_{os.getpid()}"
    mirror.conn.execute(f"create role {login} login password 'pw' in role tds_worker")
    try:
        with psycopg.connect(database.dsn(user=login, password="pw")) as conn:
            assert conn.execute(due).fetchone() == (False,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                take_due(database.dsn(user=login, password="pw"))
        with database.connect(autocommit=True) as other:
            assert other.execute("select outcome from tds.take_backup()").fetchone() == ("taken",)
            assert not mirror.value(due)
            assert take_due(database.conninfo) == ("running already", None)
        # whoever had it is gone
        taking = Taking(database.conninfo)
        deadline = time.monotonic() + PATIENCE
        while not mirror.rows("select from tds_backups"):
            assert time.monotonic() < deadline
            taking.turn(mirror.conn)
            time.sleep(0.05)
        taking.stop()
    finally:
        mirror.conn.execute(f"drop role {login}")
    assert [path.suffix for path in place.iterdir()] == [".tdsbackup"]


def test_what_a_killed_one_left_is_removed(mirror: Mirror, database: Database, tmp_path: Path) -> None:
    left, other = tmp_path / "tds-1.unfinished", tmp_path / "tds-2.unfinished"
    left.touch()
    other.touch()
    os.utime(left, (1, 1))
    # by the clock of this process, which may be set to another time than the file system's
    os.utime(other, (time.time(), time.time()))
    make(database.conninfo, tmp_path, keep=1, verify=False)
    assert (left.exists(), other.exists()) == (False, True)
    name = f"tds_verify_{os.getpid()}_left"
    mirror.conn.execute(f"create database {name}")
    with scratch(database.conninfo) as one, scratch(database.conninfo) as two:
        found = [
            row["datname"]
            for row in mirror.rows(
                "select datname from pg_database where datname like %s", f"tds_verify_{os.getpid()}%"
            )
        ]
        assert name not in found
        assert {psycopg.conninfo.conninfo_to_dict(each)["dbname"] for each in (one, two)} == set(found)


def test_one_that_cannot_be_restored_does_not_take_the_place_of_a_good_one(
    mirror: Mirror, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make(database.conninfo, tmp_path, keep=1, verify=False).backup.path

    def refuse(*_: object, **__: object) -> None:
        raise BackupError("tds.run came out otherwise.")

    monkeypatch.setattr("tds_db.backups.restore", refuse)
    for _ in range(2):
        with pytest.raises(BackupError):
            make(database.conninfo, tmp_path, keep=1, verify=True)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".tdsbackup", ".unverified"]
    assert good.exists()
    assert mirror.value(FAILURES) == 2
    assert set_aside(good).suffix == ".unverified"


def backups(place: Path) -> set[Path]:
    return set(place.glob("*.tdsbackup"))


def test_a_database_removes_what_it_made_itself(
    test_server: TestServer, mirror: Mirror, database: Database, tmp_path: Path
) -> None:
    """Two that share a directory, and one that was restored from the other's backup."""
    first, second = (make(database.conninfo, tmp_path, keep=2, verify=False).backup.path for _ in range(2))
    with test_server.database("empty", lambda _: None) as another:
        restore(another.conninfo, second)
        theirs = [make(another.conninfo, tmp_path, keep=1, verify=False) for _ in range(2)]
        assert [made.removed for made in theirs] == [[], [theirs[0].backup.path]]
        with another.connect(autocommit=True) as conn:
            assert conn.execute("select count(*) from tds_backups where state = 'removed'").fetchone() == (1,)
    assert backups(tmp_path) == {first, second, theirs[1].backup.path}
    assert make(database.conninfo, tmp_path, keep=1, verify=False).removed == [second, first]
    assert mirror.value("select count(*) from tds_backups where state = 'removed'") == 2


def test_a_clock_that_was_ahead_costs_no_newer_backup(
    mirror: Mirror, database: Database, tmp_path: Path
) -> None:
    old = make(database.conninfo, tmp_path, keep=1, verify=False).backup.path
    ahead = old.rename(tmp_path / "tds-29991231T235959000000Z.tdsbackup")
    mirror.conn.execute("update tds.backup set taken_at = '2999-12-31', file = %s", [str(ahead)])
    # how old it is nobody knows; another one is wanted
    mirror.conn.execute("select tds.schedule_backups(%s)", [str(tmp_path)])
    mirror.conn.execute("select tds.request_backup()")
    assert 99 < mirror.value(AGE, "100 hours") < 101
    new = make(database.conninfo, tmp_path, keep=1, verify=False)
    assert (backups(tmp_path), new.removed) == ({new.backup.path}, [ahead])


def test_one_by_hand_takes_none_from_the_clock(mirror: Mirror, database: Database, place: Path) -> None:
    mirror.conn.execute("select tds.schedule_backups(%s, 9)", [str(place)])
    for _ in range(9):
        made = make(database.conninfo, place, keep=None, verify=False)
        assert made.removed == []
    assert len(make(database.conninfo, place, keep=None, verify=False).removed) == 1
    assert len(make(database.conninfo, place, keep=7, verify=False).removed) == 3


def test_the_commands(
    mirror: Mirror, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)

    def tds(*words: str) -> dict[str, object]:
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 0, done.output
        told: dict[str, object] = json.loads(done.stdout)
        return told

    said = tds("backups", "schedule", str(tmp_path), "--keep", "3", "--at", "5 1 * * *", "--no-verify")
    assert said == {"goes_to": str(tmp_path), "keeps": 3, "cron": "5 1 * * *", "verifies": False}
    assert tds("backups", "take") == {"outcome": "not due"}
    assert tds("backups", "take", "--now")["path"] == str(next(tmp_path.glob("*.tdsbackup")))
    [listed] = json.loads(CliRunner().invoke(main, ["backups", "list", "--json"]).stdout)
    assert listed["state"] == "written"
    assert tds("backups", "off")["goes_to"] is None
    assert tds("backups", "take") == {"outcome": "not scheduled"}
    refused = CliRunner().invoke(main, ["backups", "schedule", str(tmp_path), "--at", "never"])
    assert (refused.exit_code, "schedule not understood" in refused.output) == (1, True)
