"""The wheel: nothing in it but names of ours, and it works wherever somebody stands."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.db.servers import Database
from tests.journeys.programs import environment, free_port
from tests.journeys.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[1]
OTHERS = ("db", "poller", "receiver", "sandbox", "tds_mirror", "click", "psycopg")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process of a run makes, for all of them."""
    place = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    made, unfinished = place / name, place / f"{name}.unfinished"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(made)
    return made


def pip(*arguments: str) -> None:
    """Runs it, for packages without those that they need."""
    subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet", "--no-deps"], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, made as pip makes it."""

    def make(out: Path) -> None:
        tree = tmp_path_factory.mktemp("tree")
        # a copy, because setuptools leaves build/ and egg-info beside what it builds
        for name in (
            "README.md",
            "LICENSE",
            "pyproject.toml",
            "db",
            "receiver",
            "poller",
            "cli",
            "demo",
            "sandbox",
        ):
            source, target = ROOT / name, tree / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        pip("wheel", "--no-build-isolation", "--wheel-dir", str(out), str(tree))

    [made] = once(tmp_path_factory, "wheel", make).glob("*.whl")
    return made


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has the wheel, less what the product does not need."""

    def make(place: Path) -> None:
        pip("install", "--target", str(place), str(wheel))
        for extra in ("tds_sandbox", "tds_demo"):
            (place / extra).rename(place / f"not_{extra}")

    return once(tmp_path_factory, "site", make)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder where every name is taken: packages that end whoever imports them."""
    for name in OTHERS:
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(f"raise SystemExit('{name} of the folder was imported')\n")
    return tmp_path


@pytest.fixture
def variables(site: Path, database: Database, tmp_path: Path) -> dict[str, str]:
    """The environment of a `tds` from the wheel."""
    data = tmp_path / "data"
    data.mkdir()
    given = environment(TDS_DATABASE_URL=database.conninfo, TDS_DATA_DIR=str(data))
    return {**given, "PYTHONPATH": str(site)}


@pytest.fixture
def started(crowded: Path, variables: dict[str, str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to be stopped."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        with process:
            assert process.wait(PATIENCE) == 0


def tds(site: Path) -> str:
    """The installed command."""
    return str(site / "bin" / "tds")


def test_only_names_of_ours(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert all(top.startswith("tds_") for top in tops), tops
    for needed in (
        "tds_db/bootstrap.sql",
        "tds_db/migrations/0001_inbox.sql",
        "tds_receiver/dashboard/templates/base.html",
        "tds_receiver/dashboard/assets/tds.css",
    ):
        assert needed in names
    assert sum(name.startswith("tds_db/functions/") for name in names) == len(
        list((ROOT / "db/functions").rglob("*.sql"))
    )


def test_the_command_works_in_a_crowded_folder(site: Path, crowded: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(
        [tds(site), "--version"], cwd=crowded, env=variables, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [tds(site), "db", "status"], cwd=crowded, env=variables, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    program = "import tds_db.upgrade; print(tds_db.upgrade.DIRECTORY)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=variables, text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == str(site / "tds_db")


def test_whatever_has_children_works_in_a_crowded_folder(
    site: Path, crowded: Path, variables: dict[str, str], started: list[subprocess.Popen[str]]
) -> None:
    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [tds(site), *arguments], cwd=crowded, env=variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(process)
        return process

    serving = start("serve", "--processes", "2", "--port", "0")
    working = start("work", "--workers", "2")
    assert serving.stdout is not None
    url = serving.stdout.readline().strip()
    wait_until(lambda: _answers(url), "it answers")
    up = start("up", "--json", "--workers", "1", "--port", str(free_port()))
    assert up.stdout is not None
    base_url = json.loads(up.stdout.readline())["base_url"]
    wait_until(lambda: _answers(base_url), "it answers")
    for parent in (serving, working):
        wait_until(partial(_steady, parent.pid, 2), "both are at work")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _steady(pid: int, count: int) -> bool:
    """Whether it has so many children that have lived for a while."""
    children = psutil.Process(pid).children()
    now = time.time()
    return len(children) == count and all(now - child.create_time() > 2 for child in children)
