"""Fixtures: a fresh, upgraded database for each test that asks for one, on every kind of server there is."""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TypeVar, cast

import pytest
from hypothesis import settings

from tests import clock
from tests.db.servers import PGTAP_TEMPLATE, Database, PrivateServer, Servers, TestServer, legs

# until all tests are collected: a third of what that takes would be the collector's, which finds nothing
gc.disable()
# the same examples each time
settings.register_profile("suite", derandomize=True)
settings.load_profile("suite")

LEGS = legs()
RUNNING = [leg for leg, reason in LEGS.items() if not reason]
Thing = TypeVar("Thing")
PGTAP = Path(__file__).parent / "pgtap"
SERVERS = pytest.StashKey[Servers]()
ORDER = "TDS_TEST_ORDER"
EACH_TEST = pytest.StashKey[clock.EachTest]()
# pytest-timeout raises in the test, whose fixtures then stop what they started. One that hangs even so, in a thread that
# is waited for, is ended with its process after these seconds more; the watchdog stops the servers.
LAST_RESORT_SECONDS = 60.0


def share(things: Iterable[Thing], leg: str) -> list[Thing]:
    """Of what is divided among the legs that run, one's share: what one leg leaves is another's."""
    return list(things)[RUNNING.index(leg) :: len(RUNNING)]


def pytest_configure(config: pytest.Config) -> None:
    """Takes the clock, if every test is to begin at the same time; and heeds signals, so that what it starts does, too."""
    # a suite in the background or under nohup has them ignored, and hands that on
    for number, heeded in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, heeded)
    if text := os.environ.get(clock.EACH):
        config.stash[EACH_TEST] = clock.EachTest(text)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keeps what was collected out of the garbage collector's sight, and makes what all share before the clock goes back."""
    # it lives to the end, and to look through it time and again was a tenth of this process's CPU
    gc.collect()
    gc.freeze()
    gc.enable()
    if EACH_TEST in session.config.stash:
        for leg in RUNNING:
            all_servers(session.config).get(leg).prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Any order will do: TDS_TEST_ORDER, a number, chooses one."""
    if seed := os.environ.get(ORDER):
        random.Random(seed).shuffle(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Sets the clock, before any fixture."""
    if EACH_TEST in item.config.stash:
        item.config.stash[EACH_TEST].set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Ends the process, and says in which test, should a timeout not have ended that."""
    marker = item.get_closest_marker("timeout")
    limit = float(
        marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout") or 0
    )
    end = threading.Timer(limit + LAST_RESORT_SECONDS, _end_process, [item])
    end.daemon = True
    if limit:
        end.start()
    try:
        return (yield)
    finally:
        end.cancel()


def _end_process(item: pytest.Item) -> None:
    capture = item.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    assert sys.__stderr__ is not None
    sys.__stderr__.write(f"\n{item.nodeid} hangs, and its timeout did not end it\n")
    faulthandler.dump_traceback(sys.__stderr__)
    os._exit(1)


def all_servers(config: pytest.Config) -> Servers:
    """The servers of this process; the first call makes the place for them."""
    if SERVERS not in config.stash:
        config.stash[SERVERS] = Servers()
        config.add_cleanup(config.stash[SERVERS].close)
    return config.stash[SERVERS]


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """What a command sets in this process, as from a file of variables, is no other test's."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session", params=RUNNING)
def test_server(request: pytest.FixtureRequest) -> TestServer:
    """The shared server of a leg, for tests that make databases of their own."""
    return all_servers(request.config).get(request.param)


@pytest.fixture
def database(test_server: TestServer) -> Iterator[Database]:
    """A fresh, upgraded database. The test runs once on every leg."""
    with test_server.database() as fresh:
        yield fresh


@pytest.fixture
def empty_database(test_server: TestServer) -> Iterator[Database]:
    """A fresh database without TDS. The test runs once on every leg."""
    with test_server.empty_database() as fresh:
        yield fresh


@pytest.fixture
def cron_database(request: pytest.FixtureRequest) -> Database:
    """The one upgraded database where pg_cron is at work; shared by all tests of this process."""
    if LEGS["pg15"]:
        pytest.skip(f"pg15 does not run: {LEGS['pg15']}")
    return all_servers(request.config).get("pg15").cron_database()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A server of the test's own with an upgraded database `tds`, and with fsync on, for being killed."""
    private = all_servers(request.config).private(upgraded=True)
    yield private
    private.stop()


class PgTapFile(pytest.File):
    """A file of pgTAP tests is one test: it passes or shows its TAP."""

    def collect(self) -> Iterable[pytest.Item]:
        yield cast(pytest.Item, PgTapItem.from_parent(self, name="pgtap[pg15]"))


class PgTapItem(pytest.Item):
    """Runs on the pg15 leg, in a database of its own."""

    def runtest(self) -> None:
        if LEGS["pg15"]:
            pytest.skip(f"pg15 does not run: {LEGS['pg15']}")
        with all_servers(self.config).get("pg15").database(PGTAP_TEMPLATE) as database:
            done = subprocess.run(
                [
                    "pg_prove",
                    "--verbose",
                    "--failures",
                    "--psql-bin",
                    str(database.bin_dir / "psql"),
                    str(self.path),
                ],
                env=database.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise AssertionError(done.stdout)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The TAP text, without a Python traceback."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, None, str]:
        """What the terminal calls it."""
        return self.path, None, self.path.relative_to(PGTAP.parent).as_posix()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--golden` for `make golden`: writes the files that made functions are compared with."""
    parser.addoption("--golden", action="store_true", help="renew the files in tests/sql/made")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PgTapFile | None:
    """Collects tests/pgtap/**/*.sql."""
    if file_path.suffix == ".sql" and file_path.is_relative_to(PGTAP):
        return PgTapFile.from_parent(parent, path=file_path)
    return None


def pytest_report_header() -> list[str]:
    """Says which servers the database tests run on, and why not on the others."""
    return [
        f"database leg {leg}: {'does not run: ' + reason if reason else 'runs'}"
        for leg, reason in LEGS.items()
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The same, once more, next to the result, and what tests measured (`record_property("measured", …)`)."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "measured" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
    for line in pytest_report_header():
        terminalreporter.write_line(line)
