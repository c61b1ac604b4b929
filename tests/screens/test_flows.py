"""What an operator does on the dashboard, in a browser."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
from psycopg import Connection

from tests.db.servers import Database
from tests.journeys.programs import worker
from tests.journeys.waiting import wait_until
from tests.screens import stage
from tests.screens.conftest import Look, sync_api

expect = sync_api.expect
expect.set_options(timeout=60_000)


def read_anew(page: Any) -> None:
    """What the page does every ten seconds, now."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


WORKER = "from tds.program where kind = 'worker' and stopped_at is null"


def ten_minutes_go_by(owner: Connection) -> None:
    """Its turns are ten minutes older: who still does one is at work again at once."""
    owner.execute(
        f"update tds.program set beat_at = beat_at - interval '10 minutes' where ctid in (select ctid {WORKER})"
    )


def test_the_verdict_changes_when_the_worker_stops(look: Look, database: Database, tmp_path: Path) -> None:
    with database.connect(autocommit=True) as owner, worker(database, tmp_path) as program:
        wait_until(lambda: owner.execute(f"select {WORKER}").fetchall(), "the worker works")
        stage.well(owner, ["poller"])
        page = look()
        verdict = page.get_by_role("region", name="Verdict")
        expect(verdict).to_contain_text("All is well")
        page.evaluate("window.same = document.getElementById('main')")
        page.locator("#tiles summary").first.click()
        # it hangs
        os.kill(program.pid, signal.SIGSTOP)
        wait_until(lambda: psutil.Process(program.pid).status() == psutil.STATUS_STOPPED, "it stands still")
        ten_minutes_go_by(owner)
        read_anew(page)
        expect(verdict).to_contain_text("Not well: workers")
        expect(verdict).to_contain_text("tds work")
        assert page.evaluate("window.same === document.getElementById('main')"), (
            "the page was not loaded anew"
        )
        assert page.locator("#tiles details").first.evaluate("one => one.open"), "what stands open stays open"
        verdict.get_by_role("link", name="workers").click()
        expect(page.locator("tr#workers")).to_contain_text("none at work")
        assert owner.execute(f"select max(now() - beat_at) > interval '9 minutes' {WORKER}").fetchone() == (
            True,
        )
        # it goes on
        os.kill(program.pid, signal.SIGCONT)
        wait_until(
            lambda: owner.execute(f"select {WORKER} and beat_at > now() - interval '1 minute'").fetchall(),
            "it works",
        )
        stage.well(owner, ["poller"])
        read_anew(page)
        expect(verdict).to_contain_text("All is well")
        # it is ended, and another one started
        program.stop()
        owner.execute(
            "update tds.program set beat_at = beat_at - interval '10 minutes' where stopped_at is not null"
        )
        read_anew(page)
        expect(verdict).to_contain_text("Not well: workers")
        expect(page.locator("tr#workers")).to_contain_text("which was stopped")
        program.start()
        wait_until(lambda: owner.execute(f"select {WORKER}").fetchall(), "another one works")
        stage.well(owner, ["poller"])
        read_anew(page)
        expect(verdict).to_contain_text("All is well")
        assert page.errors == []


def test_a_dead_letter_is_found_mended_and_replayed(look: Look, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        for number in range(3):
            stage.receive(owner, "invoices", {"invoice": {"invoice_id": f"7{number}", "total": "x"}})
        bad = {"item_id": stage.BAD, "name": "<script>alert(1)</script> مصباح", "sku": "BAD", "rate": "1,2,3"}
        stage.receive(owner, "products", {"item": bad})
        owner.execute("call tds.process_batch()")
        page = look()
        page.get_by_role("link", name="4 dead letters").click()
        page.get_by_label("Id, path, value or reason").fill("1,2,3")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("#letters tbody tr")).to_have_count(1)
        page.locator("#letters tbody a").first.click()
        expect(page.locator("mark")).to_have_text('  "rate": "1,2,3",')
        expect(page.locator(".document")).to_contain_text("<script>alert(1)</script> مصباح")
        # what cannot be read is not sent, and not lost
        page.get_by_label("Or mended").fill('{"item_id": ')
        page.get_by_role("button", name="Mend and replay").click()
        expect(page.get_by_role("alert")).to_contain_text("no JSON")
        assert page.get_by_label("Or mended").input_value() == '{"item_id": '
        mended = '{"item_id": "46999", "name": "مصباح", "sku": "BAD", "rate": "12.50"}'
        page.get_by_label("Or mended").fill(mended)
        page.get_by_role("button", name="Mend and replay").click()
        expect(page.locator("#letter")).to_contain_text("by API key TDS_API_KEY")
        expect(page.get_by_role("button", name="Replay")).to_have_count(0)
        owner.execute("call tds.process_batch()")
        page.get_by_role("link", name=stage.BAD).click()
        expect(page.locator("#row")).to_contain_text("مصباح")
        expect(page.locator("#row")).to_contain_text("12.5")
        expect(page.locator("#story tbody tr")).to_have_count(2)
        expect(page.locator("#story")).to_contain_text("replay of event")
        assert page.errors == []


def test_a_migration_is_watched(look: Look, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        stage.well(owner)
        stage.migrate(owner)
        page = look()
        migration = page.get_by_role("region", name="Migration of 748139205")
        expect(migration).to_contain_text("under way")
        expect(migration).to_contain_text("lists, page by page")
        before = float(migration.get_by_role("progressbar").get_attribute("value"))
        owner.execute("delete from tds.wanted_detail where zoho_id > '95'")
        stage.spend(owner, 450)
        owner.execute(
            "update tds.api_budget set paused_until = now() + interval '3 minutes', pause_reason = 'too many at once'"
        )
        read_anew(page)
        expect(migration).to_contain_text("too many at once")
        assert float(migration.get_by_role("progressbar").get_attribute("value")) > before
        owner.execute("select tds.finish_full_pull('748139205')")
        read_anew(page)
        expect(migration).to_contain_text("complete")
        assert page.errors == []


def test_an_alert_is_acknowledged_and_another_muted(look: Look, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        stage.well(owner)
        for number in range(2):
            item = {
                "item_id": f"7{number}",
                "name": stage.NAMES[number],
                "stock_on_hand": -3,
                "track_inventory": True,
            }
            stage.receive(owner, "products", {"item": item})
        owner.execute("call tds.process_batch()")
        owner.execute("select tds.raise_alerts('{business}')")
        page = look()
        page.get_by_role("link", name="open alerts").click()
        first = page.locator("#alerts tbody tr").filter(has_text="70").first
        expect(first).not_to_contain_text("acknowledged")
        first.get_by_label("How long: acknowledge").select_option("4 hours")
        first.get_by_role("button", name="Acknowledge").click()
        seen = page.locator("#alerts tbody tr").filter(has_text="acknowledged")
        expect(seen).to_have_count(1)
        expect(seen).to_contain_text("by API key TDS_API_KEY")
        expect(seen).to_contain_text("until in 4 h")
        other = page.locator("#alerts tbody tr").filter(has_text="71").first
        other.get_by_label("How long: mute").select_option("1 day")
        other.get_by_role("button", name="Mute").click()
        expect(page.locator("#alerts .state").filter(has_text="muted")).to_have_count(1)
        expect(page.locator("#mutes")).to_contain_text("API key TDS_API_KEY")
        # what is over goes by itself, without the page being loaded anew
        page.evaluate("window.same = document.getElementById('main')")
        owner.execute("update tds.alert set resolved_at = now() where acknowledged_by is not null")
        read_anew(page)
        expect(seen).to_have_count(0)
        expect(page.locator("#resolved tbody tr")).to_have_count(1)
        assert page.evaluate("window.same === document.getElementById('main')")
        page.get_by_role("button", name="Unmute").click()
        expect(page.locator("#alerts .state").filter(has_text="muted")).to_have_count(0)
        expect(page.locator("#mutes")).to_contain_text("Nothing.")
        assert page.errors == []


def test_a_job_is_run_now(look: Look, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        page = look()
        page.get_by_role("link", name="Jobs").click()
        row = page.get_by_role("row").filter(has_text="ensure_partitions")
        row.get_by_role("button", name="Run now").click()
        expect(row).to_contain_text("wanted")
        owner.execute("call tds.run_due_jobs(null)")
        read_anew(page)
        expect(row).to_contain_text("done")
        expect(row.get_by_role("button", name="Run now")).to_have_count(1)
        assert owner.execute(
            "select count(*) from tds.job_run where job = 'ensure_partitions'"
        ).fetchone() == (1,)


def test_a_key_that_reads_sees_no_buttons(look: Look, database: Database) -> None:
    with database.connect(autocommit=True) as owner:
        stage.receive(owner, "products", {"item": {"item_id": "5", "rate": "x"}})
        owner.execute("call tds.process_batch()")
        [key] = owner.execute("select tds.create_api_key('a reader', 'read')").fetchone() or [""]
    page = look(key)
    for path in ("/dashboard/jobs", "/dashboard/dead/1", "/dashboard/entities", "/dashboard/alerts"):
        assert page.goto(path).status == 200, path
        expect(page.get_by_role("button"), path).to_have_count(1)
        expect(page.get_by_role("button"), path).to_have_text("Log out")


def test_by_keyboard_alone(look: Look) -> None:
    page = look()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
