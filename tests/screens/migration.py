"""Screens of a migration under Zoho's real limits, made from a run: `python -m tests.screens.migration`.

2,218 items, 2,467 contacts and 1,000 invoices are some 3,550 calls: an hour and a half at 90 calls and 40 single
records a minute. All programs run on one clock that goes eight times as fast (faketime), the server, the sandbox and
its limits too, with every setting as it is delivered: what is shown at minute 1, 30 and 80 is what one would see then.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from tds_cli.migrate import whole_shown
from tds_cli.progress import Steps
from tds_db.connect import conninfo
from tds_db.embedded import stop
from tds_db.settings import DatabaseSettings
from tds_db.upgrade import upgrade
from tds_poller.migrate import migrate
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

ROOT = Path(__file__).parents[2]
SCREENS = ROOT / "docs" / "screens"
SPEED = 8
STARTS = "2026-03-02 09:00:00"
MINUTES = (1, 30, 80)
COLUMNS, LINES = 96, 30
FAKETIME = ("LD_PRELOAD", "FAKETIME", "FAKETIME_SHARED", "FAKETIME_DONT_RESET")
TDS = [sys.executable, "-P", "-m", "tds_cli"]


def run() -> int:
    """Runs this module again, on the fast clock."""
    if (faketime := shutil.which("faketime")) is None:
        print("There is no faketime: apt-get install faketime", file=sys.stderr)
        return 1
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TDS_", "ZOHO_"))}
    with tempfile.TemporaryDirectory(prefix="tds-screens-") as directory:
        Path(directory).chmod(0o711)  # root's server is another account's
        own = {
            "FAKETIME_DONT_RESET": "1",
            "TZ": "UTC",
            "TDS_DATA_DIR": directory,
            "TDS_API_KEY": secrets.token_hex(16),
        }
        command = [faketime, "-f", f"@{STARTS} x{SPEED}", sys.executable, "-m", __spec__.name, "within"]
        return subprocess.run(command, env=kept | own, check=False, cwd=ROOT).returncode


def within() -> None:
    """The run itself: what the clock says here is what all of its programs are told."""
    # The account that runs root's server has to see the same clock.
    for name in os.environ["FAKETIME_SHARED"].replace("/", " ").split():
        for path in (Path("/dev/shm", name), Path("/dev/shm", f"sem.{name}")):
            if path.exists():
                path.chmod(0o666)
    try:
        upgrade(conninfo())
        with started("sandbox", "--json") as sandbox, started("serve", "--port", "0") as receiver:
            os.environ.update(json.loads(sandbox))
            asyncio.run(filmed(receiver.strip()))
    finally:
        stop(DatabaseSettings().data_dir)


@contextmanager
def started(*words: str) -> Iterator[str]:
    """A program of ours as long as the block lasts, and the first line that it prints."""
    process = subprocess.Popen([*TDS, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait()


async def filmed(dashboard: str) -> None:
    """Migrates as `tds migrate` does, and keeps what is seen."""
    settings = ZohoSettings().model_copy(update={"longest_wait": float("inf")})
    console = Console(width=COLUMNS, height=LINES, force_terminal=True, file=io.StringIO())
    with Steps(console=console) as steps:
        async with Mirror(conninfo(), settings.organization_id) as mirror, ZohoClient(settings) as client:
            steps.show_calls_left(lambda: client.calls_left)
            steps.show_waiting(lambda: client.waiting)
            camera = asyncio.create_task(photographs(steps, dashboard))
            async with whole_shown(mirror, steps):
                work = asyncio.create_task(migrate(client, mirror, steps))
                await asyncio.wait([work, camera], return_when=asyncio.FIRST_COMPLETED)
            if not camera.done():
                camera.cancel()
                raise RuntimeError(f"the migration was over before minute {MINUTES[-1]}")
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            camera.result()


async def photographs(steps: Steps, dashboard: str) -> None:
    """At each minute, the terminal and the dashboard."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for minute in MINUTES:
        await asyncio.sleep(began + 60 * minute - loop.time())
        name = f"migrate-{minute:02}"
        paper = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
        for part in steps.bars.get_renderables():
            paper.print(part)
        SCREENS.mkdir(exist_ok=True)
        text = paper.export_text(clear=False)
        (SCREENS / f"{name}.txt").write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))
        paper.save_svg(str(SCREENS / f"{name}.svg"), title=f"tds migrate, minute {minute}")
        # The browser is on its own clock: pages are made where the data is.
        real = {key: value for key, value in os.environ.items() if key not in FAKETIME}
        looking = [
            sys.executable,
            "-m",
            __spec__.name,
            "look",
            dashboard,
            str(SCREENS / f"{name}-dashboard.png"),
        ]
        process = await asyncio.create_subprocess_exec(*looking, env=real, cwd=ROOT)
        if await process.wait():
            raise RuntimeError("no picture of the dashboard")
        print(f"minute {minute}: {name}", file=sys.stderr)


def look(url: str, path: str) -> None:
    """A picture of the dashboard."""
    from tests.screens.conftest import CHROMIUM, sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page: Any = browser.new_page(viewport={"width": 1100, "height": 620})
        page.goto(url)
        page.get_by_label("Key").fill(os.environ["TDS_API_KEY"])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/dashboard")
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["within"]:
            within()
        case ["look", where, to]:
            look(where, to)
        case _:
            sys.exit(run())
