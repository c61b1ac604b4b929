"""What is forgotten goes, and nothing else: unfinished and dead events outlive their day, the stock's history has a small form."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.db.servers import Database
from tests.sql.conftest import ORGANIZATION, Mirror, product

BEGINNING = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
DAYS = """
    select array_agg(c.relname order by c.relname) from pg_inherits h join pg_class c on c.oid = h.inhrelid
     where h.inhparent = '{}'::regclass"""


def at(mirror: Mirror, moment: datetime) -> None:
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [moment.isoformat()])


def retain(mirror: Mirror) -> dict[str, tuple[int, str | None]]:
    rows = mirror.rows("select * from tds.retain()")
    return {row["what"]: (row["removed"], row["error"]) for row in rows}


def test_wants_of_what_is_long_deleted_are_forgotten_and_counted(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    mirror.receive("products", {"items": [product("1"), product("2"), product("3")]}, "list")
    mirror.process()
    mirror.conn.execute("update tds.wanted_detail set wanted_at = %s, error = 'none'", [BEGINNING])
    mirror.conn.execute("update zoho.products set deleted_at = %s where zoho_item_id < '3'", [BEGINNING])
    much_later = "select tds.forget_wants(%s, %s)"
    assert mirror.value(much_later, BEGINNING, BEGINNING) == 0
    later = BEGINNING + timedelta(days=90)
    assert mirror.value(much_later, later, BEGINNING + timedelta(days=1)) == 2
    assert mirror.value("select array_agg(zoho_id) from tds.wanted_detail") == ["3"]


def test_finished_bodies_go_and_what_is_not_finished_or_dead_is_where_it_was(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    mirror.receive("products", {"items": [product("1"), product("2", rate="x")]}, "list")
    mirror.process()
    mirror.receive("products", {"item": product("3")})
    at(mirror, BEGINNING + timedelta(days=3))
    mirror.receive("products", {"item": product("4")})
    kept = mirror.value("select inbox_id from tds.inbox_open where inbox_id = 2")
    mirror.process("customers")
    at(mirror, BEGINNING + timedelta(days=32))
    done = retain(mirror)
    assert done["inbox"] == (0, None), done
    assert f"inbox_{BEGINNING:%Y%m%d}" not in mirror.value(DAYS.format("tds.inbox"))
    assert mirror.value("select to_regclass(%s) is null", f"tds.inbox_{BEGINNING:%Y%m%d}")
    assert kept == 2
    assert mirror.value("select array_agg(inbox_id order by inbox_id) from tds.inbox") == [1, 2, 3]
    # dead and unfinished are found under their own numbers by all who look for them
    told = mirror.rows("select outcome, inbox_id from tds.explain_record('products', '2')")
    assert [(row["outcome"], row["inbox_id"]) for row in told] == [("dead", 1)]
    assert mirror.process()["applied"] == 2
    event = mirror.value("select tds.replay(1, %s::jsonb)", '{"item_id": "2", "name": "Cable", "rate": 3}')
    assert mirror.process()["applied"] == 1
    assert event > 3
    # finished now, they go the next night
    at(mirror, BEGINNING + timedelta(days=34, hours=1))
    assert retain(mirror)["inbox"][1] is None
    assert mirror.value("select array_agg(inbox_id order by inbox_id) from tds.inbox") == [event]
    assert mirror.value("select array_agg(zoho_item_id order by zoho_item_id) from zoho.products") == [
        "1",
        "2",
        "3",
        "4",
    ]


def test_a_body_without_an_outcome_is_not_forgotten_though_nobody_knows_of_it(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    mirror.receive("products", {"item": product("1")})
    mirror.conn.execute("delete from tds.inbox_open")
    at(mirror, BEGINNING + timedelta(days=40))
    retain(mirror)
    assert mirror.value("select count(*) from tds.inbox") == 1
    mirror.conn.execute("select tds.requeue_unprocessed()")
    assert mirror.process()["applied"] == 1


def test_counters_go_with_their_outcomes_and_say_what_the_queue_says(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    for number in range(3):
        mirror.receive("products", {"item": product(str(number))})
    mirror.receive("products", b"not json")
    mirror.process()
    at(mirror, BEGINNING + timedelta(days=32))
    mirror.receive("products", {"items": [product("7"), product("8", rate="x")]}, "list")
    mirror.process()
    assert retain(mirror)["outcomes"] == (3, None)
    counted = mirror.rows("select status, events from tds_queue_counts order by 1")
    queue = mirror.rows("select status, count(*) as events from tds_sync_queue group by 1 order by 1")
    assert counted == queue
    assert [(row["status"], row["events"]) for row in queue] == [("completed", 1), ("dead_letter", 2)]


def test_who_reads_the_inbox_is_not_waited_for_and_heal_tries_again(
    mirror: Mirror, database: Database
) -> None:
    at(mirror, BEGINNING)
    mirror.receive("products", {"item": product("1")})
    mirror.process()
    at(mirror, BEGINNING + timedelta(days=40))
    with database.connect() as reader:
        reader.execute("select count(*) from tds.inbox")
        done = retain(mirror)
        assert done["inbox"][1] is not None
        assert done["inbox"][1].startswith("55P03")
        assert done["heal_log"] == (0, None), "the others are forgotten all the same"
    [act] = mirror.rows("select act, ok from tds.heal() where step = 'retention' and subject like '%%inbox'")
    assert act == {"act": "forgot what was locked in the night", "ok": True}
    assert mirror.value("select count(*) from tds.inbox") == 0


def test_a_clock_that_was_ahead_leaves_days_that_can_be_received(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    mirror.receive("products", {"item": product("1")})
    mirror.process()
    at(mirror, BEGINNING + timedelta(days=400))
    mirror.conn.execute("select tds.ensure_partitions()")
    for _ in range(3):
        retain(mirror)
    at(mirror, BEGINNING + timedelta(hours=1))
    assert mirror.receive("products", {"item": product("2")}) == "queued"
    assert mirror.process()["applied"] == 1


def test_each_period_is_a_setting_and_open_things_stay(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    for number, resolved in ((1, "now()"), (2, "null")):
        mirror.conn.execute(
            "insert into tds.dead_letter (inbox_id, received_at, entity, observed_at, reason, error_code, attempts, dead_at, resolved_at, "
            f"resolution) values ({number}, tds.now(), 'products', tds.now(), 'x', 'ZB001', 1, tds.now(), "
            f"case when {resolved} is not null then tds.now() end, case when {resolved} is not null then 'x' end)"
        )
    mirror.conn.execute(
        "insert into tds.heal_log (healed_at, step, subject, act, ok) values (tds.now(), 's', 's', 'a', true)"
    )
    mirror.conn.execute("update tds.setting set value = '10' where name = 'keep_dead_letters_days'")
    at(mirror, BEGINNING + timedelta(days=11))
    done = retain(mirror)
    assert (done["dead_letters"], done["heal_log"]) == ((1, None), (0, None))
    assert mirror.value("select array_agg(inbox_id) from tds.dead_letter") == [2]
    shown = mirror.rows(
        "select days, removed, oldest is not null as told from tds_retention where what = 'heal_log'"
    )
    assert shown == [{"days": 30, "removed": 0, "told": True}]


def test_the_newest_runs_of_a_list_stay_however_old(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    mirror.conn.execute(
        "insert into tds.run (organization_id, entity, state, started_at, heartbeat_at, finished_at, listed_at) "
        "select '1', 'bills', 'complete', tds.now(), tds.now(), tds.now(), tds.now() from generate_series(1, 30)"
    )
    at(mirror, BEGINNING + timedelta(days=400))
    assert retain(mirror)["runs"] == (10, None)
    assert mirror.value("select min(run_id) from tds.run") == 11


def stock(mirror: Mirror, products: int = 300) -> None:
    """Products in three places, by Zoho's long ids."""
    for first in range(0, products, 100):
        items = [
            product(
                f"26466100000{n:08d}",
                stock_on_hand=n % 50,
                brand="",
                locations=[
                    {
                        "location_id": f"264661000000{place:07d}",
                        "location_name": f"Place {place}",
                        "location_stock_on_hand": n % (10 + place),
                    }
                    for place in range(3)
                ],
            )
            for n in range(first, first + 100)
        ]
        mirror.conn.execute(
            "select tds.receive('products', %b, %b, shape => 'detail')",
            [__import__("json").dumps({"items": items}).encode(), ORGANIZATION],
        )
    mirror.process()


@pytest.mark.new_database
def test_snapshots_have_a_small_form_and_thin_to_months(
    mirror: Mirror, record_property: Callable[[str, object], None]
) -> None:
    at(mirror, BEGINNING)
    stock(mirror, 100)
    for day in range(100):
        at(mirror, BEGINNING + timedelta(days=day))
        assert mirror.value("select tds.snapshot_stock()") == 400, "once a day"
        assert mirror.value("select tds.snapshot_stock()") == 0
        if day == 2:
            large = mirror.value("select pg_total_relation_size('zoho.stock_history')") / 3
        before = mirror.value("select count(*) from tds_stock_days")
        assert retain(mirror)["stock_days"][1] is None
        assert mirror.value("select count(*) from tds_stock_days") == before or day > 90
    days = mirror.rows("select day, count(*) as rows from tds_stock_days group by day order by day")
    assert {row["rows"] for row in days} == {400}
    dates = [row["day"] for row in days]
    assert dates[0] == BEGINNING.date(), "the first of its month"
    assert len(dates) == 91 + 1
    assert mirror.value("select count(distinct day) from zoho.stock_history") <= 2
    small = mirror.value("select pg_total_relation_size('tds.stock_day')") / len(days)
    record_property(
        "measured", f"a day's snapshot of 400 quantities: {large:,.0f} bytes as rows, {small:,.0f} kept"
    )
    assert small < large / 10
    shown = mirror.rows(
        "select quantity::int from tds_stock_days where zoho_item_id = %s and day = %s order by zoho_warehouse_id nulls first",
        "2646610000000000049",
        dates[0],
    )
    assert [row["quantity"] for row in shown] == [49, 9, 5, 1]


def test_products_that_come_late_in_a_day_keep_their_snapshot(mirror: Mirror) -> None:
    """The small form is made by when a snapshot was taken, hour by hour: a day may be folded in two parts."""
    at(mirror, BEGINNING.replace(hour=0, minute=5))
    stock(mirror, 100)
    assert mirror.value("select tds.snapshot_stock()") == 400
    at(mirror, BEGINNING.replace(hour=22, minute=5))
    stock(mirror, 200)
    assert mirror.value("select tds.snapshot_stock()") == 400
    every = mirror.rows("select * from tds_stock_days order by zoho_item_id, zoho_warehouse_id")
    same = "select zoho_item_id, quantity from tds_stock_days order by zoho_item_id, zoho_warehouse_id"
    for days in (2, 3, 4):
        at(mirror, BEGINNING.replace(hour=3, minute=30) + timedelta(days=days))
        assert retain(mirror)["stock_days"][1] is None
        assert mirror.rows(same) == [
            {"zoho_item_id": row["zoho_item_id"], "quantity": row["quantity"]} for row in every
        ], days
    assert mirror.value("select count(*) from zoho.stock_history where kind = 'snapshot'") == 0
    ids = mirror.rows("select zoho_item_ids as ids from tds.stock_day")
    assert [row["ids"] for row in ids] == [sorted(row["ids"]) for row in ids]


def test_each_place_keeps_its_own_first_snapshot_of_a_month(mirror: Mirror) -> None:
    days = [("1", "2026-01-05"), ("1", "2026-01-06"), ("2", "2026-01-08"), ("2", "2026-01-09")]
    for place, day in days:
        mirror.conn.execute(
            "insert into tds.stock_day (organization_id, day, zoho_warehouse_id, recorded_at, zoho_item_ids, quantities) "
            "values (%s, %s, %s, %s, '{7}', '{1}')",
            [ORGANIZATION, day, place, day],
        )
    at(mirror, BEGINNING + timedelta(days=300))
    retain(mirror)
    left = mirror.rows("select zoho_warehouse_id as place, day::text from tds.stock_day order by 1, 2")
    assert left == [{"place": "1", "day": "2026-01-05"}, {"place": "2", "day": "2026-01-08"}]


def test_snapshots_bear_the_organisations_day(mirror: Mirror) -> None:
    mirror.conn.execute(
        "insert into zoho.organizations (organization_id, zoho_organization_id, time_zone, zoho_metadata, synced_at, sync_version, "
        "sync_observed_at, sync_rank) values (%s, %s, 'Asia/Baghdad', '{}', now(), 1, now(), 1)",
        [ORGANIZATION, ORGANIZATION],
    )
    at(mirror, BEGINNING)
    stock(mirror, 100)
    at(mirror, BEGINNING.replace(hour=20, minute=55))
    assert mirror.value("select tds.snapshot_stock()") == 400
    at(mirror, BEGINNING.replace(hour=21, minute=5))
    assert mirror.value("select tds.snapshot_stock()") == 400, "a new day there"
    assert mirror.value("select array_agg(distinct day::text order by day::text) from tds_stock_days") == [
        "2026-01-05",
        "2026-01-06",
    ]


def test_only_the_folding_may_take_from_the_history(mirror: Mirror) -> None:
    at(mirror, BEGINNING)
    stock(mirror, 100)
    mirror.conn.execute("select tds.snapshot_stock()")
    mirror.conn.execute("set tds.folds_history = 'on'")
    for statement in ("delete from zoho.stock_history", "update zoho.stock_history set quantity = 0"):
        with pytest.raises(psycopg.Error) as refused:
            mirror.conn.execute(statement)
        assert refused.value.sqlstate == "ZB006"


def test_dead_records_of_a_page_are_counted_where_they_are_looked_for(mirror: Mirror) -> None:
    mirror.receive(
        "products", {"items": [product("1"), product("2", rate="x"), product("3", rate="y")]}, "list"
    )
    mirror.process()
    queue = "select status, count(*) as events from tds_sync_queue group by 1 order by 1"
    assert mirror.rows(queue) == [
        {"status": "completed", "events": 1},
        {"status": "dead_letter", "events": 2},
    ]
    assert mirror.rows("select status, events from tds_queue_counts order by 1") == mirror.rows(queue)


@pytest.mark.parametrize(
    "end", ["finish_full_pull", "start_clock"], ids=["with all", "but for what is refused"]
)
def test_drift_is_what_came_after_the_first_migration(mirror: Mirror, end: str) -> None:
    at(mirror, BEGINNING)
    mirror.conn.execute(
        "insert into tds.full_pull (organization_id, began_at) values (%s, tds.now())", [ORGANIZATION]
    )
    mirror.receive("products", {"item": product("5", novelty=1, flag=True)})
    mirror.process()
    drift = "select array_agg(path order by path) from tds_schema_drift"
    at(mirror, BEGINNING + timedelta(hours=1))
    mirror.conn.execute("select tds.observe_drift()")
    assert mirror.value(drift) is None, "while it goes on nothing is news"
    mirror.conn.execute(f"select tds.{end}(%s)", [ORGANIZATION])
    at(mirror, BEGINNING + timedelta(days=2))
    mirror.receive("products", {"item": product("6", novelty=1, later=2, flag="yes")})
    mirror.process()
    at(mirror, BEGINNING + timedelta(days=2, hours=1))
    mirror.conn.execute("select tds.observe_drift()")
    assert mirror.value(drift) == ["flag", "flag", "later"]
    mirror.conn.execute("select tds.accept_drift()")
    assert mirror.value(drift) is None


def test_a_payment_told_by_webhook_has_the_time_of_its_change(mirror: Mirror) -> None:
    for entity, key in (("payments", "payment"), ("vendor_payments", "vendorpayment")):
        mirror.receive(entity, {key: {"payment_id": "1", "updated_time": "2026-06-09T09:46:21-0400"}})
    mirror.process()
    for table in ("customer_payments", "vendor_payments"):
        assert mirror.value(f"select zoho_modified_at from zoho.{table}") == datetime(
            2026, 6, 9, 13, 46, 21, tzinfo=UTC
        )


def test_every_table_is_named_by_the_retention(mirror: Mirror) -> None:
    unnamed = """
        select c.oid::regclass::text as name from pg_class c
         where c.relkind in ('r', 'p') and not c.relispartition
           and c.relnamespace in ('tds'::regnamespace, 'zoho'::regnamespace)
           and not exists (select from tds.retention_rule r where r.relation = c.oid::regclass::text)
           and not (c.relnamespace = 'zoho'::regnamespace
                    and exists (select from tds.retention_rule r where r.relation = 'zoho'))"""
    assert mirror.rows(unnamed) == [], "one call of tds.register_retention() is missing"
    mirror.conn.execute("create table tds.grows (n int)")
    assert mirror.rows(unnamed) == [{"name": "tds.grows"}]


def test_each_period_can_be_read_and_each_rule_has_its_function(mirror: Mirror) -> None:
    lacking = """
        select r.what from tds.retention_rule r left join tds.setting s on s.name = format('keep_%s_days', r.what)
         where r.reason is null and coalesce((s.value #>> '{}')::int, 0) < 1
            or r.function_name is not null and to_regprocedure(r.function_name) is null
            or r.time_column is not null and not exists (
                    select from pg_attribute a where a.attrelid = r.relation::regclass and a.attname = r.time_column)"""
    assert mirror.rows(lacking.replace("%s", "%%s")) == []
