"""axe-core on every page, light, dark and on a phone: nothing serious; and every page fits its window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import RUNNING, all_servers
from tests.db.servers import Database
from tests.screens import stage
from tests.screens.conftest import Look, photograph

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

PAGES = {
    "overview": "/dashboard",
    "month": "/dashboard?span=month",
    "entities": "/dashboard/entities",
    "dead": "/dashboard/dead",
    "letter": "/dashboard/dead/1",
    "record": "/dashboard/records?entity=invoices&id=INV-00001",
    "runs": "/dashboard/runs",
    "run": "/dashboard/runs/1",
    "jobs": "/dashboard/jobs",
    "stock": "/dashboard/stock",
    "health": "/dashboard/health",
    "alerts": "/dashboard/alerts",
    "discrepancies": "/dashboard/discrepancies",
    "discrepancy": "/dashboard/discrepancies/1",
    "verification": "/dashboard/verification",
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One leg: the pages are the same on all of them."""
    with all_servers(request.config).get(RUNNING[0]).database() as fresh:
        with fresh.connect(autocommit=True) as owner:
            stage.furnish(owner)
        yield fresh


@pytest.mark.parametrize("kind", LOOKS)
def test_every_page_can_be_read_by_everybody(look: Look, kind: str) -> None:
    stranger = look(None, **LOOKS[kind])
    stranger.goto("/dashboard/login")
    judge(stranger, f"login-{kind}")
    page = look(**LOOKS[kind])
    for name, path in PAGES.items():
        assert page.goto(path).status == 200, path
        judge(page, f"{name}-{kind}")
    assert page.errors == []


def judge(page: Any, name: str) -> None:
    """Fails where axe-core finds something serious, or where the page is wider than its window."""
    photograph(page, name)
    found = [
        (one["id"], one["help"], [node["target"] for node in one["nodes"]][:3])
        for one in axe.Axe().run(page).response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
    assert found == [], name
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window, name
