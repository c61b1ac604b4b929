"""A run that went wrong is taken back: what was, byte for byte, where nothing newer came."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import ORGANIZATION, Mirror
from tests.sql.test_history import invoice

CUSTOMER = {"contact_id": "5001", "contact_name": "Quill & Co", "contact_type": "customer"}
TABLES = [
    "invoices",
    "invoice_line_items",
    "contacts",
    "contact_addresses",
    "contact_persons",
    "products",
    "stock_levels",
]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Runs:
    """Pulls of pages, at moments of ours."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.now = NOW
        self.tick()

    def tick(self, minutes: int = 10) -> datetime:
        self.now += timedelta(minutes=minutes)
        self.mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [self.now.isoformat()])
        return self.now

    def pull(self, entity: str, key: str, *pages: list[dict[str, Any]], one_by_one: bool = False) -> int:
        """A whole run of these pages, processed at its end or one by one."""
        run = self.mirror.value("select tds.start_run(%s, %s)", entity, ORGANIZATION)
        for number, page in enumerate(pages, 1):
            at = self.tick(1)
            body = psycopg.types.json.Jsonb({key: page})
            self.mirror.value(
                "select tds.store_page(%s, %s, convert_to(%s::text, 'UTF8'), %s, %s, %s)",
                *(run, number, body, at, number < len(pages), len(page)),
            )
            if one_by_one:
                self.mirror.process()
        self.mirror.value("select tds.finish_run(%s, 'complete') is null", run)
        self.tick(1)
        self.mirror.process()
        return int(run)

    def webhook(self, entity: str, body: Any) -> None:
        self.tick()
        self.mirror.receive(entity, body)
        self.mirror.process()

    def state(self) -> dict[str, list[str]]:
        """Every row of the mirror, as text."""
        return {
            table: [r["t"] for r in self.mirror.rows(f"select t::text as t from zoho.{table} t order by 1")]
            for table in TABLES
        }

    def undo(self, run: int, **named: bool) -> dict[str, str]:
        marks = "".join(f", {name} => {value}" for name, value in named.items())
        return {
            f"{r['entity']} {r['zoho_id']}": r["action"]
            for r in self.mirror.rows(f"select * from tds.undo_run(%s{marks})", run)
        }


@pytest.fixture
def runs(mirror: Mirror) -> Runs:
    return Runs(mirror)


def edited(number: int, day: int, dice: random.Random, **changed: Any) -> dict[str, Any]:
    doc = invoice(
        number,
        last_modified_time=f"2026-02-{day:02}T09:00:00+0000",
        balance=dice.randint(0, 99) + 0.50,
        **changed,
    )
    line = doc["line_items"][0]
    doc["line_items"] = [
        line | {"line_item_id": str(n), "quantity": dice.randint(1, 3)} for n in range(dice.randint(1, 4))
    ]
    return doc


@pytest.mark.parametrize("seed", range(3))
def test_what_was_is_there_again_byte_by_byte(runs: Runs, seed: int) -> None:
    dice = random.Random(seed)
    runs.webhook("customers", {"contact": CUSTOMER})
    runs.webhook("products", {"item": {"item_id": "7", "name": "Cable", "rate": 100}})
    for number in range(1, 6):
        for day in sorted(dice.sample(range(1, 20), dice.randint(1, 3))):
            runs.webhook("invoices", {"invoice": edited(number, day, dice)})
    before = runs.state()
    chosen = dice.sample(range(1, 9), 6)
    wrong = [edited(number, 25, dice, customer_name="WRONG") for number in chosen]
    # what a run writes twice is taken back twice
    again = [edited(number, 26, dice, status="void") for number in sorted(chosen)[:3]]
    run = runs.pull("invoices", "invoices", wrong, again, one_by_one=seed > 0)
    after = runs.state()
    assert after != before
    shown = runs.undo(run)
    assert runs.state() == after
    assert set(shown.values()) <= {"removed", "restored"}
    assert len(shown) == len({doc["invoice_id"] for doc in wrong + again})
    assert runs.undo(run, dry=False) == shown
    assert runs.state() == before
    # twice does nothing, and says so, shown or done
    assert set(runs.undo(run).values()) == set(runs.undo(run, dry=False).values()) == {"kept"}
    notes = [row["note"] for row in runs.mirror.rows("select note from tds.undo_run(%s)", run)]
    assert all("taken back already" in note or note == "its row is gone" for note in notes), notes
    assert runs.state() == before
    # what the mirror was told then is in the history, and what it is now is what it was before
    for key, action in shown.items():
        if action == "restored":
            zoho_id = key.split()[1]
            [now] = runs.mirror.rows(
                "select document from tds.record_at('invoices', %s, %s)", zoho_id, runs.tick()
            )
            row = runs.mirror.value(
                "select zoho_metadata from zoho.invoices where zoho_invoice_id = %s", zoho_id
            )
            assert now["document"] == row
            kinds = [
                r["kind"]
                for r in runs.mirror.rows(
                    "select kind from tds.record_history where zoho_id = %s order by history_id", zoho_id
                )
            ]
            assert kinds[-1] == "undone"
    # and the same run brings the same again
    run = runs.pull("invoices", "invoices", wrong, again)
    told = "select zoho_metadata ->> 'status' from zoho.invoices where zoho_invoice_id = %s"
    assert {runs.mirror.value(told, doc["invoice_id"]) for doc in again} == {"void"}


def test_what_came_since_stays_and_is_named(runs: Runs) -> None:
    dice = random.Random(5)
    for number in (1, 2, 3):
        runs.webhook("invoices", {"invoice": edited(number, 1, dice)})
    pages = [edited(number, 10, dice, customer_name="WRONG") for number in (1, 2, 3, 4)]
    run = runs.pull("invoices", "invoices", pages)
    runs.webhook("invoices", {"invoice": edited(1, 20, dice)})
    # a read that says the same is news, too: Zoho says so
    runs.tick()
    runs.mirror.receive("invoices", {"invoice": pages[1]}, shape="detail", source="poller")
    runs.mirror.process()
    before = runs.state()
    rows = {r["zoho_id"]: r for r in runs.mirror.rows("select * from tds.undo_run(%s, false)", run)}
    assert {zoho_id: row["action"] for zoho_id, row in rows.items()} == {
        "990001": "kept",
        "990002": "kept",
        "990003": "restored",
        "990004": "removed",
    }
    newest = runs.mirror.value("select max(inbox_id) from tds.inbox")
    assert rows["990001"]["note"] == f"event {newest - 1} has written it since"
    assert rows["990002"]["note"] == f"event {newest} has told of it since"
    after = runs.state()
    assert before["invoices"][0] in after["invoices"]
    assert len(after["invoices"]) == 3


def test_a_tombstone_of_the_run_goes(runs: Runs) -> None:
    dice = random.Random(6)
    runs.webhook("invoices", {"invoice": edited(1, 1, dice)})
    runs.mirror.receive(
        "invoices", {"invoice": edited(1, 1, dice)}, shape="detail", source="poller", observed_at=runs.tick()
    )
    runs.mirror.process()
    before = runs.state()
    run = runs.pull("invoices", "invoices", [edited(2, 3, dice)])
    at = runs.tick()
    runs.mirror.receive(
        "invoices",
        {"invoice": {"invoice_id": "990001"}},
        event="delete",
        observed_at=at - timedelta(minutes=3),
    )
    for moment in (at - timedelta(minutes=2), at):
        runs.mirror.receive("invoices", {"invoice": {"invoice_id": "990001"}}, shape="detail", event="delete", source="poller",
                            observed_at=moment, headers=psycopg.types.json.Jsonb({"for_run": run}))  # fmt: skip
    runs.mirror.process()
    assert runs.mirror.value(
        "select deleted_at is not null from zoho.invoices where zoho_invoice_id = '990001'"
    )
    assert runs.undo(run, dry=False) == {"invoices 990001": "restored", "invoices 990002": "removed"}
    assert runs.state() == before


def test_where_no_history_is_kept_that_is_said_before_anything_is_done(runs: Runs) -> None:
    runs.webhook("products", {"item": {"item_id": "7", "name": "Cable", "rate": 1}})
    stamp = {"last_modified_time": "2026-02-20T00:00:00+0000"}
    items = [
        {"item_id": "7", "name": "WRONG", "rate": 2} | stamp,
        {"item_id": "8", "name": "NEW", "rate": 2} | stamp,
    ]
    run = runs.pull("products", "items", items)
    before = runs.state()
    assert runs.undo(run) == {"products 7": "refused", "products 8": "removed"}
    with pytest.raises(psycopg.Error) as refused:
        runs.undo(run, dry=False)
    assert refused.value.sqlstate == "ZB047"
    assert "products: 7" in str(refused.value.diag.message_detail)
    assert "keep_history" in str(refused.value.diag.message_hint)
    assert runs.state() == before
    assert runs.undo(run, dry=False, partly=True) == {"products 7": "refused", "products 8": "removed"}
    assert runs.mirror.rows("select name from zoho.products") == [{"name": "WRONG"}]


@pytest.mark.parametrize("known", ["by its list", "by its detail"])
def test_prices_and_places_that_a_run_brought_go_with_it(runs: Runs, known: str) -> None:
    """Also where the document of before knows nothing of any, so that nothing of it says that they are gone."""
    mirror = runs.mirror
    mirror.conn.execute("select tds.keep_history(e) from unnest('{products,pricelists,customers}'::text[]) e")
    day = "2026-02-{:02}T09:00:00+0000"
    rows: dict[str, tuple[str, str, dict[str, Any]]] = {
        "products": ("items", "item", {"item_id": "7", "name": "Cable", "stock_on_hand": 4, "rate": 1}),
        "pricelists": (
            "pricebooks",
            "pricebook",
            {"pricebook_id": "8", "name": "Retail", "status": "active", "pricebook_type": "per_item"},
        ),
        "customers": ("contacts", "contact", CUSTOMER),
    }

    def more(entity: str, number: int) -> dict[str, Any]:
        told: dict[str, dict[str, Any]] = {
            "products": {
                "brand": "",
                "locations": [{"location_id": str(number), "location_stock_on_hand": 4}],
            },
            "pricelists": {
                "pricebook_items": [
                    {"item_id": str(n), "pricebook_rate": number} for n in range(number, number + 7)
                ]
            },
            "customers": {"billing_address": {"city": f"Basra {number}"}},
        }
        return told[entity]

    def state() -> list[str]:
        tables = [*TABLES, "pricelists", "product_prices"]
        return [
            str(r["t"])
            for table in tables
            for r in mirror.rows(f"select t::text as t from zoho.{table} t order by 1")
        ]

    for entity, (many, one, row) in rows.items():
        runs.pull(entity, many, [row | {"last_modified_time": day.format(1)}])
        if known == "by its detail":
            detail = {one: row | more(entity, 1) | {"last_modified_time": day.format(1)}}
            mirror.receive(entity, detail, "detail", observed_at=runs.tick())
            mirror.process()
    mirror.conn.execute("delete from tds.wanted_detail")
    before = state()
    price = "select tds.price_of('7', '8', 1)"
    for entity, (many, one, row) in rows.items():
        run = runs.pull(entity, many, [row | {"name": "WRONG", "last_modified_time": day.format(2)}])
        # the detail that the run wanted
        detail = {one: row | more(entity, 3) | {"name": "WRONG", "last_modified_time": day.format(2)}}
        mirror.receive(entity, detail, "detail", observed_at=runs.tick(), headers=f'{{"for_run": {run}}}')
        mirror.process()
        if entity == "pricelists":
            assert mirror.value(price) == 3
        assert state() != before, entity
        assert set(runs.undo(run, dry=False).values()) == {"restored"}
        assert state() == before, entity
    assert mirror.value(price) == (1 if known == "by its detail" else None)


def test_links_that_the_run_made_are_gone_with_it(runs: Runs) -> None:
    runs.webhook("invoices", {"invoice": invoice(1, last_modified_time="2026-02-01T09:00:00+0000")})
    before = runs.state()
    run = runs.pull("customers", "contacts", [CUSTOMER])
    assert runs.mirror.value("select customer_id is not null from zoho.invoices")
    assert runs.undo(run, dry=False) == {"customers 5001": "removed"}
    assert runs.state() == before


def test_a_run_that_is_not_over_or_not_there_is_left_alone(runs: Runs) -> None:
    with pytest.raises(psycopg.Error) as refused:
        runs.undo(4711)
    assert refused.value.sqlstate == "ZB012"
    run = runs.mirror.value("select tds.start_run('invoices', %s)", ORGANIZATION)
    with pytest.raises(psycopg.Error) as refused:
        runs.undo(run)
    assert refused.value.sqlstate == "ZB046"
    for role in ("tds_reader", "tds_worker", "tds_receiver", "tds_poller"):
        granted = "select has_function_privilege(%s, 'tds.undo_run(bigint, boolean, boolean)', 'execute')"
        assert not runs.mirror.value(granted, role)


def test_a_run_under_way_is_taken_back_once_it_is_over(runs: Runs) -> None:
    dice = random.Random(8)
    runs.webhook("invoices", {"invoice": edited(1, 1, dice)})
    before = runs.state()
    run = runs.mirror.value("select tds.start_run('invoices', %s)", ORGANIZATION)

    def store(number: int) -> None:
        page = psycopg.types.json.Jsonb({"invoices": [edited(number, 20, dice)]})
        runs.mirror.value(
            "select tds.store_page(%s, %s, convert_to(%s::text, 'UTF8'), %s, true, 1)",
            run,
            number,
            page,
            runs.tick(1),
        )

    def refused(told: str, hint: str) -> None:
        state = runs.state()
        for dry in (True, False):
            with pytest.raises(psycopg.Error) as caught:
                runs.undo(run, dry=dry)
            assert caught.value.sqlstate == "ZB046"
            assert told in str(caught.value)
            assert hint in str(caught.value.diag.message_hint)
        assert runs.state() == state

    store(1)
    runs.mirror.process()
    assert runs.state() != before
    store(2)
    refused("it is still running", f"select tds.cancel_run({run})")
    runs.mirror.value("select tds.cancel_run(%s)", run)
    refused("some of its pages are not finished", "tds.process_batch()")
    runs.mirror.process()
    assert runs.undo(run, dry=False) == {"invoices 990001": "restored", "invoices 990002": "removed"}
    assert runs.state() == before
