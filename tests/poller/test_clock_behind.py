"""Zoho's clock is 25 minutes behind ours: a pull of changes skips no edit for it, now or later."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tds_sandbox.clock import Clock
from tds_sandbox.control import make_edits
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.organisation import Organisation
from tests.db.servers import Database
from tests.poller.conftest import Poller, fast_sandbox
from tests.poller.test_migrate import compared

BEHIND = 25 * 60


@pytest.mark.parametrize("overlap", [600, 0])
def test_edits_by_a_clock_that_is_behind_are_pulled(database: Database, overlap: int) -> None:
    organisation = Organisation(
        items=5, contacts=5, invoices=20, clock=Clock(1, time.time() - BEHIND), lenient=True
    )
    # its minute is a real one: how many calls fit is another test's
    with fast_sandbox(organisation, limits=replace(UNLIMITED, per_day=10_000)) as sandbox:
        sandbox.sandbox.date_ahead = -BEHIND
        poller = Poller(sandbox, database)
        with database.connect(autocommit=True) as conn:
            conn.execute(
                "update tds.setting set value = to_jsonb(%s::int) where name = 'cursor_overlap_seconds'",
                [overlap],
            )
        poller.migrate()
        for _ in range(2):
            # the edits come after the pull before them, by whatever clock
            began = organisation.clock.now()
            while int(organisation.clock.now()) == int(began):
                time.sleep(0.05)
            make_edits(organisation, entities=["invoices"], count=6, fire=False)
            poller.pull("invoices", incremental=True)
            assert compared(poller)["invoices"].differences == []
