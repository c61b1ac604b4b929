"""Chromium, where there is one, and a receiver that it looks at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.db.servers import Database
from tests.receiver.conftest import serving

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEY = "a-key-of-the-environment"
SCREENS = Path(__file__).parents[2] / "docs" / "screens"
WAIT = 60_000.0  # milliseconds: patience with a busy machine, not a measure of ours
Look = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One Chromium for the tests of a module: while it is there an event loop runs here, which others must not meet."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Look]:
    """Opens a browser on a receiver of the test's database: `look(key=…, color_scheme=…)` has logged in."""
    from tds_receiver.settings import ReceiverSettings

    monkeypatch.setenv("TDS_API_KEY", KEY)
    settings = ReceiverSettings.model_validate({"organization_id": "748139205", "connections": 2})
    contexts = []
    with serving(database.conninfo, settings) as client:

        def opened(key: str | None = KEY, **options: Any) -> Any:
            context = chromium.new_context(base_url=str(client.base_url), **options)
            context.set_default_timeout(WAIT)
            contexts.append(context)
            page = context.new_page()
            page.errors = []
            page.on("pageerror", lambda error: page.errors.append(str(error)))
            page.on(
                "console",
                lambda told: page.errors.append(told.text) if "Content Security" in told.text else None,
            )
            if key:
                page.goto("/")
                page.get_by_label("Key").fill(key)
                page.get_by_role("button", name="Log in").click()
                page.wait_for_url("**/dashboard")
            return page

        yield opened
        for context in contexts:
            context.close()


# Those that docs/dashboard.md shows.
SHOWN = {
    *("overview-light", "month-dark", "letter-light", "entities-dark", "record-light", "entities-phone"),
    *("alerts-light", "alerts-phone", "discrepancies-dark", "discrepancy-light", "verification-light"),
}


def photograph(page: Any, name: str) -> None:
    """Keeps a screenshot in docs/screens, when TDS_SCREENS says so: any, or all of it."""
    if (wish := os.environ.get("TDS_SCREENS")) and (name in SHOWN or wish == "all"):
        SCREENS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENS / f"{name}.png", full_page=True)
