"""Wanted details: one door, through which a newer wish always wins, whoever has it and in whatever order wishes come."""

from __future__ import annotations

import itertools
import json
from typing import Any

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import MOMENT, ORGANIZATION, Mirror, product
from tests.sql.test_pulls import ask, begin, page, row, settle, wants

WANTED = """
    select zoho_id, reason, wanted_at, modified_at, run_id, tries, error, leased_until, leased_for, leased_by
      from tds.wanted_detail order by zoho_id"""


def wish(mirror: Mirror, *wishes: str, entity: str = "invoices") -> int:
    """Puts wishes, each the text of a tds.wish, through the door as one set."""
    query = "select tds.want(%s, %s, %s::tds.wish[])"
    return int(mirror.value(query, entity, ORGANIZATION, list(wishes)))


def test_a_newer_wish_takes_over_and_clears_what_was_tried(mirror: Mirror) -> None:
    wish(mirror, '(1,list,"2026-06-01 10:00+00","2026-06-01 09:00+00",7)')
    mirror.conn.execute("select tds.take_details('invoices', %s, 9, 4711)", [ORGANIZATION])
    mirror.conn.execute("select tds.detail_failed('invoices', %s, '1', 'HTTP 500')", [ORGANIZATION])
    mirror.conn.execute("select tds.take_details('invoices', %s, 9, 4711)", [ORGANIZATION])
    wish(mirror, '(1,hint,"2026-06-01 11:00+00","2026-06-01 08:00+00",8)')
    [found] = mirror.rows(WANTED)
    assert (found["reason"], found["run_id"], found["wanted_at"].isoformat()) == (
        "hint",
        8,
        "2026-06-01T11:00:00+00:00",
    )
    assert found["modified_at"].isoformat() == "2026-06-01T09:00:00+00:00", "the greatest"
    assert [found[column] for column in ("tries", "error", "leased_until", "leased_for", "leased_by")] == [
        0,
        None,
        None,
        None,
        None,
    ]
    wish(mirror, '(1,webhook,"2026-06-01 12:00+00",,)')
    [found] = mirror.rows(WANTED)
    assert (found["reason"], found["run_id"]) == ("webhook", 8), "the run still waits for it"


def test_an_older_wish_takes_nothing_away(mirror: Mirror) -> None:
    wish(mirror, '(1,newer,"2026-06-01 11:00+00","2026-06-01 08:00+00",8)')
    mirror.conn.execute("select tds.detail_failed('invoices', %s, '1', 'HTTP 500')", [ORGANIZATION])
    before = mirror.rows(WANTED)
    wish(mirror, '(1,older,"2026-06-01 10:00+00","2026-06-01 07:00+00",7)')
    assert mirror.rows(WANTED) == before
    wish(mirror, '(1,older,"2026-06-01 10:00+00","2026-06-01 09:00+00",7)')
    [found] = mirror.rows(WANTED)
    assert found["modified_at"].isoformat() == "2026-06-01T09:00:00+00:00", "but it knew a later version"
    assert found | {"modified_at": None} == before[0] | {"modified_at": None}


@pytest.mark.parametrize("first", ["the answer", "the wish"])
def test_an_answer_that_waits_serves_what_was_wished_for_before_it_was_asked_for(
    mirror: Mirror, first: str
) -> None:
    def taken() -> list[str]:
        query = "select zoho_id from tds.take_details('invoices', %s, 9, 4711)"
        return [row["zoho_id"] for row in mirror.rows(query, ORGANIZATION)]

    def meanwhile() -> None:
        wish(mirror, '(1,a document names it,"2026-06-01 10:05+00",,)')

    wish(mirror, '(1,list,"2026-06-01 10:00+00",,)')
    assert taken() == ["1"]
    body = json.dumps({"invoice": {"invoice_id": "1", "last_modified_time": MOMENT, "line_items": []}})
    steps = [
        lambda: mirror.value(
            "select tds.store_detail('invoices', %s, '{1}', %s, '2026-06-01 10:06+00')",
            ORGANIZATION,
            body.encode(),
        ),
        meanwhile,
    ]
    for step in steps if first == "the answer" else reversed(steps):
        step()
    assert taken() == [], "its answer is stored, and only has to be processed"
    wish(mirror, '(1,webhook,"2026-06-01 10:07+00",,)')
    assert taken() == ["1"], "it was edited after it had been asked for"


WISHES = (
    '(1,a,"2026-06-01 10:00+00","2026-06-01 09:00+00",)',
    '(1,b,"2026-06-01 11:00+00","2026-06-01 08:00+00",4)',
    '(1,c,"2026-06-01 11:00+00",,5)',
    '(1,d,"2026-06-01 12:00+00",,)',
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(len(WISHES)))), ids=str)
def test_the_order_in_which_wishes_come_does_not_matter(shared: Mirror, order: tuple[int, ...]) -> None:
    outcomes = []
    for together in (True, False):
        shared.conn.execute("delete from tds.wanted_detail")
        for group in [order] if together else [(n,) for n in order]:
            wish(shared, *(WISHES[n] for n in group))
        outcomes.append(shared.rows(WANTED))
    assert outcomes[0] == outcomes[1]
    [found] = outcomes[0]
    assert (found["reason"], found["run_id"]) == ("d", 5)
    assert found["modified_at"].isoformat() == "2026-06-01T09:00:00+00:00"


def test_what_an_answer_left_open_is_told_from_what_it_did_not_know(mirror: Mirror) -> None:
    asked = '(%s,list,"2026-06-01 10:00+00",,)'
    wish(mirror, *(asked % zoho_id for zoho_id in ("1", "2", "3", "4")))
    mirror.conn.execute("select tds.take_details('invoices', %s, 9, 4711)", [ORGANIZATION])
    # answers that say nothing of these invoices
    mirror.conn.execute(
        """select tds.store_detail('invoices', %s, '{1,2,3}', '{"invoice": {}}', '2026-06-01 10:30+00')""",
        [ORGANIZATION],
    )
    mirror.process()
    mirror.conn.execute("delete from tds.wanted_detail where zoho_id = '2'")
    # told by a page that was slow, after the answer; and by an edit since
    wish(mirror, asked % "2", '(3,edit,"2026-06-01 11:00+00",,)')
    vain = "select tds.note_vain('invoices', %s, '{1,2,3,5}', array_fill(timestamptz '2026-06-01 10:30+00', '{4}'))"
    assert mirror.value(vain, ORGANIZATION) == 3
    assert {want["zoho_id"]: want["error"] for want in mirror.rows(WANTED)} == {
        "1": "the detail that came did not settle it",
        "2": None,
        "3": None,
        "4": None,
    }
    assert mirror.value(vain, ORGANIZATION) == 3
    assert [want["tries"] for want in mirror.rows(WANTED)] == [1, 0, 0, 0]


def test_a_new_pull_does_not_answer_for_what_failed_before_it(mirror: Mirror) -> None:
    listed = [{"invoice_id": "1", "last_modified_time": MOMENT}]
    mirror.receive("invoices", {"invoices": listed}, "list")
    mirror.process()
    assert [want["zoho_id"] for want in mirror.rows(WANTED)] == ["1"]
    mirror.conn.execute(
        "select tds.detail_failed('invoices', %s, '1', 'HTTP 500 of yesterday')", [ORGANIZATION]
    )
    skipped = ask(mirror, "invoices", include_line_items=False)
    begin(mirror, skipped)
    page(mirror, skipped, "invoices", listed)
    mirror.process()
    settle(mirror)
    run = ask(mirror, "invoices")
    assert begin(mirror, run) == "running"
    page(mirror, run, "invoices", listed)
    mirror.process()
    settle(mirror)
    assert (row(mirror, run)["state"], wants(mirror, run)) == ("settling", {"1"}), "nothing was tried for it"
    body = json.dumps({"invoice": {"invoice_id": "1", "last_modified_time": MOMENT, "line_items": []}})
    mirror.receive("invoices", body.encode(), "detail")
    mirror.process()
    settle(mirror)
    assert (row(mirror, run)["state"], row(mirror, run)["error"]) == ("complete", None)


def refused(mirror: Mirror, query: str, *parameters: Any) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised:
        mirror.value(query, *parameters)
    return raised.value


@pytest.mark.parametrize("zoho_id", ["", " ", "a b", "1/lines", "../items", "x" * 51, "1?page=2", "é", None])
def test_what_is_no_id_is_refused(mirror: Mirror, zoho_id: str | None) -> None:
    for query in (
        "select tds.want('invoices', %(id)s, %(org)s)",
        "select tds.want_detail('invoices', %(org)s, %(id)s)",
        "select tds.want('invoices', %(org)s, array[('7', 'r', now(), null, null), (%(id)s, 'r', now(), null, null)]::tds.wish[])",
    ):
        with pytest.raises(psycopg.Error) as raised:
            mirror.conn.execute(query, {"id": zoho_id, "org": ORGANIZATION})
        assert raised.value.sqlstate == "ZB015"
        assert repr(zoho_id) in (raised.value.diag.message_detail or "") or zoho_id is None
        assert "tds.want(" in (raised.value.diag.message_hint or "")
    assert mirror.rows(WANTED) == []


@pytest.mark.parametrize("entity", ["sheep", "", "stock_adjustments", None])
def test_what_zoho_cannot_be_asked_for_is_refused(mirror: Mirror, entity: str | None) -> None:
    for query in (
        "select tds.want(%s, '1', %s)",
        "select tds.want(%s, %s, array[('1', 'r', now(), null, null)]::tds.wish[])",
    ):
        parameters = (entity, ORGANIZATION)
        error = refused(mirror, query, *parameters)
        assert error.sqlstate == "ZB002"
        assert "tds.entity" in (error.diag.message_hint or "")
    assert mirror.rows(WANTED) == []


def test_a_dba_types_it_in_a_word(mirror: Mirror) -> None:
    mirror.conn.execute(
        "update tds.setting set value = to_jsonb(%s::text) where name = 'organization_id'", [ORGANIZATION]
    )
    assert mirror.value("select tds.want('stock', '7')") == 1, "stock is in the details of products"
    [found] = mirror.rows("select * from tds.wanted_detail")
    assert (found["organization_id"], found["entity"], found["zoho_id"], found["reason"]) == (
        ORGANIZATION,
        "products",
        "7",
        "asked for",
    )
    assert (
        mirror.value(
            "select tds.want('invoices', zoho_id => '8', reason => 'a customer called', organization_id => '99')"
        )
        == 1
    )
    assert (
        mirror.value("select reason from tds.wanted_detail where organization_id = '99'")
        == "a customer called"
    )


def test_a_replay_of_what_zoho_cannot_be_asked_for_asks_for_nothing(mirror: Mirror) -> None:
    adjustment = {
        "inventory_adjustment": {"inventory_adjustment_id": "1", "date": "no day", "line_items": []}
    }
    mirror.receive("stock", adjustment)
    mirror.process()
    dead = mirror.value("select dead_letter_id from tds.dead_letter where zoho_id = '1'")
    assert mirror.value("select tds.replay(%s::bigint)", dead) > 0
    assert mirror.rows(WANTED) == []


def test_wishes_for_all_leave_no_lease_and_know_the_version(mirror: Mirror) -> None:
    mirror.receive("products", {"items": [product("1"), product("2")]}, "list")
    mirror.process()
    mirror.conn.execute("select tds.take_details('products', %s)", [ORGANIZATION])
    assert mirror.value("select tds.want_again('products', %s)", ORGANIZATION) == 2
    found = mirror.rows(WANTED)
    assert [(want["zoho_id"], want["leased_until"], want["modified_at"] is not None) for want in found] == [
        ("1", None, True),
        ("2", None, True),
    ]


def test_nothing_else_writes_a_want(database: Database) -> None:
    with database.connect() as conn:
        inserting = conn.execute(
            r"""select p.proname from pg_proc p
                 where p.pronamespace in ('tds'::regnamespace, 'public'::regnamespace)
                   and p.prosrc ~* '(insert\s+into|merge\s+into|copy)\s+(only\s+)?(tds\s*\.\s*)?"?wanted_detail'"""
        ).fetchall()
        assert inserting == [("want",)]
        assert conn.execute(
            "select count(*) from pg_trigger where tgrelid = 'tds.wanted_detail'::regclass"
        ).fetchone() == (0,)
