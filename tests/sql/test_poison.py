"""One item that cannot be done costs no job: the rest is done, and the item is told of."""

from __future__ import annotations

from tests.sql.conftest import ORGANIZATION, Mirror, product

# What is wrong with the item does not matter to whoever has to go on without it.
REFUSE = """
    create function public.refuse() returns trigger language plpgsql as $$
    begin raise exception using errcode = '22003', message = 'too odd to be written'; end $$"""


def stocked(mirror: Mirror, count: int) -> None:
    """Products with stock."""
    for number in range(count):
        mirror.receive("products", {"item": product(f"{number:03}", stock_on_hand=number)})
    mirror.process()


def set_aside(mirror: Mirror) -> list[tuple[str, str]]:
    """Job and item of what was set aside."""
    return [
        (row["job"], row["item"]) for row in mirror.rows("select job, item from tds.set_aside order by 1, 2")
    ]


def test_a_product_whose_stock_cannot_be_written_keeps_no_other(mirror: Mirror) -> None:
    stocked(mirror, 20)
    mirror.conn.execute(REFUSE)
    mirror.conn.execute(
        "create trigger refuse before insert on zoho.stock_history for each row"
        " when (new.kind = 'snapshot' and new.zoho_item_id in ('007', '013')) execute function public.refuse()"
    )
    mirror.conn.execute("call tds.run_job('snapshot_stock')")
    assert mirror.value("select state from tds_jobs where job = 'snapshot_stock'") == "done"
    there = [
        row["zoho_item_id"]
        for row in mirror.rows(
            "select zoho_item_id from zoho.stock_history where kind = 'snapshot' order by 1"
        )
    ]
    assert there == [f"{number:03}" for number in range(20) if number not in (7, 13)]
    items = [(job, item.split()[1]) for job, item in set_aside(mirror)]
    assert items == [("snapshot_stock", "007"), ("snapshot_stock", "013")]
    mirror.conn.execute("drop trigger refuse on zoho.stock_history")
    assert mirror.value("select tds.snapshot_stock()") == 2, "it is tried again, and only it"


def test_a_row_that_cannot_be_made_anew_keeps_no_other(mirror: Mirror) -> None:
    stocked(mirror, 20)
    mirror.conn.execute("update zoho.products set name = 'old'")
    mirror.conn.execute(
        "insert into tds.column_to_fill (entity, organization_id, after) values ('products', %s, '')",
        [ORGANIZATION],
    )
    mirror.conn.execute(REFUSE)
    mirror.conn.execute(
        "create trigger refuse before update on zoho.products for each row"
        " when (new.zoho_item_id in ('000', '007', '019')) execute function public.refuse()"
    )
    for _ in range(200):
        mirror.conn.execute("call tds.run_job('fill_new_columns')")
        assert mirror.value("select state from tds_jobs where job = 'fill_new_columns'") == "done"
        if not mirror.rows("select from tds.column_to_fill"):
            break
    else:
        raise AssertionError("it is never done")
    old = [
        row["zoho_item_id"]
        for row in mirror.rows("select zoho_item_id from zoho.products where name = 'old' order by 1")
    ]
    assert old == ["000", "007", "019"]
    items = [(job, item.split()[1]) for job, item in set_aside(mirror)]
    assert items == [("fill_new_columns", number) for number in ("000", "007", "019")]


def test_what_is_nobodys_fault_is_set_aside_for_nobody(mirror: Mirror) -> None:
    stocked(mirror, 4)
    mirror.conn.execute(REFUSE.replace("22003", "53100"))
    mirror.conn.execute(
        "create trigger refuse before insert on zoho.stock_history for each row execute function public.refuse()"
    )
    mirror.conn.execute("call tds.run_job('snapshot_stock')")
    assert mirror.value("select state from tds_jobs where job = 'snapshot_stock'") == "failed"
    assert set_aside(mirror) == []


def test_the_other_jobs_go_on_too(mirror: Mirror) -> None:
    """An entity whose pull cannot be asked for, a check, a rule and a step that fail."""
    mirror.conn.execute(REFUSE)
    mirror.conn.execute(
        "insert into tds.full_pull (organization_id, began_at, finished_at)"
        " values (%s, now() - interval '2 days', now() - interval '1 day')"
        " on conflict (organization_id) do update set finished_at = excluded.finished_at",
        [ORGANIZATION],
    )
    mirror.conn.execute(
        "create trigger refuse before insert on tds.run for each row when (new.entity = 'bills')"
        " execute function public.refuse()"
    )
    for statement in (
        "create function tds.check_poison() returns tds.finding language plpgsql as $$ begin raise 'too odd'; end $$",
        "select tds.register_check('poison', 'jobs', 'x', 1, 2, 15, 'x', 'x')",
        "update tds.retention_rule set condition = '1/0 = 1' where what = 'heal_log'",
        "insert into tds.heal_log (healed_at, step, subject, act, ok) select '2020-01-01Z', 'x', 'x', 'x', true",
        "insert into tds.stray (path, first_at, last_at, requests) values ('/x', '2020-01-01Z', '2020-01-01Z', 1)",
    ):
        mirror.conn.execute(statement)
    for job in ("request_lists", "request_changes", "health", "retention", "heal"):
        mirror.conn.execute(f"call tds.run_job('{job}')".encode())
        assert mirror.value("select state from tds_jobs where job = %s", job) == "done", job
    asked = {row["entity"] for row in mirror.rows("select distinct entity from tds.run")}
    assert "bills" not in asked
    assert len(asked) > 5
    states = {
        row["check_name"]: row["state"]
        for row in mirror.rows("select check_name, state from tds.health_state")
    }
    assert states.pop("poison") == "unknown"
    assert len(states) > 40
    assert mirror.value("select count(*) from tds.stray") == 0
    told = mirror.rows("select what, error from tds_retention where error is not null")
    assert [row["what"] for row in told] == ["heal_log"]
