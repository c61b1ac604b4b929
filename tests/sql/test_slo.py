"""The series of delays, the targets held against thirty days, and counters that only grow."""

from __future__ import annotations

from tests.sql.conftest import Mirror, product

LOOK = (
    "insert into tds.health_result (looked_at, check_name, state, value) values (%s::timestamptz, %s, %s, %s)"
)


def at(mirror: Mirror, moment: str) -> None:
    """Sets the clock."""
    mirror.conn.execute("select set_config('tds.fake_now', %s, false)", [moment])


def finished(mirror: Mirror, entity: str, seconds: list[float], at: str, source: str = "webhook") -> None:
    """Events that were finished at that time, after so many seconds each."""
    mirror.conn.execute(
        """
        with made as materialized (
            select nextval('tds.inbox_id_seq') as id, s as seconds, %(at)s::timestamptz - make_interval(secs => s) as received_at
              from unnest(%(seconds)s::float8[]) s),
        stored as (
            insert into tds.inbox (inbox_id, received_at, entity, source, shape, event, observed_at, body)
            select id, received_at, %(entity)s, %(source)s, 'webhook', 'upsert', received_at, '{}' from made)
        insert into tds.inbox_outcome (inbox_id, received_at, entity, status, applied, finished_at)
        select id, received_at, %(entity)s, 'completed', 1, %(at)s::timestamptz from made""",
        {"at": at, "seconds": seconds, "entity": entity, "source": source},
    )


def slo(mirror: Mirror) -> dict[str, tuple[float | None, bool | None]]:
    """Value and whether it is kept, by objective."""
    rows = mirror.rows("select objective, value::float8 as value, met from tds_slo")
    return {row["objective"]: (row["value"], row["met"]) for row in rows}


def test_delays_are_counted_once_by_hour_and_entity(mirror: Mirror) -> None:
    mirror.conn.execute("alter table tds.inbox disable trigger inbox_enqueue")
    at(mirror, "2026-03-02 10:30Z")
    mirror.conn.execute("select tds.ensure_partition('2026-03-02')")
    finished(mirror, "products", [0.05] * 97 + [40.0] * 3, "2026-03-02 10:20Z")
    finished(mirror, "invoices", [7.0], "2026-03-02 10:25Z")
    finished(mirror, "bills", [9000.0], "2026-03-02 10:25Z", source="poller")
    assert mirror.value("select tds.count_delays(50)") == 50
    assert mirror.value("select tds.count_delays()") == 52
    assert mirror.value("select tds.count_delays()") == 0
    rows = mirror.rows("select entity, events, average::float8 as average, p99::float8 as p99"
                       " from tds.delays_since('2026-03-02 10:00Z') order by entity")  # fmt: skip
    assert [(row["entity"], row["events"]) for row in rows] == [
        ("invoices", 1),
        ("products", 100),
    ]
    assert rows[1]["average"] == 1.249
    assert 30 <= rows[1]["p99"] <= 45
    assert 5 <= rows[0]["p99"] <= 10


def test_what_is_in_work_may_still_finish_before_what_is_counted(mirror: Mirror) -> None:
    mirror.conn.execute("alter table tds.inbox disable trigger inbox_enqueue")
    at(mirror, "2026-03-02 10:30Z")
    mirror.conn.execute("select tds.ensure_partition('2026-03-02')")
    mirror.conn.execute(
        "insert into tds.claim (queue, worker, backend_pid, claimed_at, inbox_ids, msg_ids, received_ats, redelivered)"
        " values ('products', 'w', 1, '2026-03-02 10:24Z', '{1}', '{1}', '{2026-03-02 10:24Z}', false)"
    )
    finished(mirror, "products", [1.0], "2026-03-02 10:25Z")
    assert mirror.value("select tds.count_delays()") == 0
    mirror.conn.execute("delete from tds.claim")
    finished(mirror, "products", [1.0], "2026-03-02 10:24:30Z")
    assert mirror.value("select tds.count_delays()") == 2


def test_a_clock_that_was_ahead_does_not_stop_the_counting(mirror: Mirror) -> None:
    mirror.conn.execute("alter table tds.inbox disable trigger inbox_enqueue")
    at(mirror, "2026-03-02 10:30Z")
    mirror.conn.execute("select tds.ensure_partition('2026-03-02')")
    mirror.conn.execute("update tds.delay_counted set finished_at = '2027-01-01Z'")
    assert mirror.value("select tds.count_delays()") == 0
    finished(mirror, "products", [1.0], "2026-03-02 10:30Z")
    at(mirror, "2026-03-02 10:31Z")
    assert mirror.value("select tds.count_delays()") == 1


def test_nothing_was_measured_yet(mirror: Mirror) -> None:
    assert slo(mirror) == {
        "delay_average": (None, None),
        "delay_p99": (None, None),
        "backlog": (None, None),
        "failed_share": (None, None),
        "uptime": (None, None),
    }


def test_targets_are_held_against_thirty_days(mirror: Mirror) -> None:
    at(mirror, "2026-03-02 10:00Z")
    mirror.conn.execute(
        "insert into tds.delay values ('2026-03-02 08:00Z', 'products', 30, 99, 990), ('2026-03-01 08:00Z', 'bills', 3600, 1, 3010),"
        " ('2026-01-01 08:00Z', 'bills', 3600, 100, 300000)"
    )
    mirror.conn.execute(
        "insert into tds.outcome_counter (entity, day, status, slot, events) values ('products', '2026-03-01', 'completed', 0, 990),"
        " ('products', '2026-03-01', 'dead_letter', 0, 10), ('bills', '2026-02-28', 'completed', 0, 1000)"
    )
    for moment, waiting in (("2026-03-02 09:45Z", 10), ("2026-03-02 09:30Z", 40)):
        mirror.conn.execute(LOOK, [moment, "queue_pending", "ok", waiting])
    assert slo(mirror) == {
        "delay_average": (40.0, False),
        "delay_p99": (30.0, None),
        "backlog": (25.0, False),
        "failed_share": (0.5, True),
        "uptime": (None, None),
    }
    worst = mirror.rows(
        "select objective, worst::float8 as worst, worst_at::text as at from tds_slo where worst is not null"
    )
    assert {row["objective"]: row["worst"] for row in worst} == {
        "delay_average": 3010.0,
        "backlog": 40.0,
        "failed_share": 1.0,
    }
    mirror.conn.execute(
        "update tds.setting set value = value || '{\"backlog\": 26}' where name = 'slo_targets'"
    )
    assert slo(mirror)["backlog"] == (25.0, True)


def test_a_silent_receiver_and_missing_looks_are_down(mirror: Mirror) -> None:
    # 100 hours of looks, the receiver silent for 20 minutes once
    at(mirror, "2026-03-06 04:00Z")
    mirror.conn.execute(
        "insert into tds.health_result (looked_at, check_name, state, value)"
        " select t, 'receiver', 'ok', 5 from generate_series('2026-03-02 00:00Z'::timestamptz, '2026-03-06 04:00Z', '15 minutes') t"
    )
    assert slo(mirror)["uptime"] == (100.0, True)
    mirror.conn.execute("update tds.health_result set value = 900 where looked_at = '2026-03-03 00:00Z'")
    mirror.conn.execute("update tds.health_result set value = 1200 where looked_at = '2026-03-03 00:15Z'")
    assert slo(mirror)["uptime"] == (99.5, False)
    # nobody looked for two hours
    mirror.conn.execute(
        "delete from tds.health_result where looked_at > '2026-03-04 00:00Z' and looked_at < '2026-03-04 02:00Z'"
    )
    assert slo(mirror)["uptime"] == (97.75, False)
    # nor for the last hour
    mirror.conn.execute("delete from tds.health_result where looked_at > '2026-03-06 03:00Z'")
    assert slo(mirror)["uptime"] == (97.0, False)


def test_the_total_of_finished_events_never_falls(mirror: Mirror) -> None:
    def total() -> int:
        told = mirror.value("select tds.metrics()")["finished"]
        return int(sum(row["events"] for row in told))

    for number in range(5):
        mirror.receive("products", {"item": product(str(number))})
    mirror.process()
    mirror.conn.execute(
        "insert into tds.outcome_counter (entity, day, status, slot, events) select 'products', current_date - n, 'completed', 3, 100"
        " from generate_series(20, 80) n"
    )
    before = total()
    assert before == 5 + 6100
    for _ in range(3):
        assert mirror.rows("select * from tds.retain() where what = 'outcomes'")[0]["error"] is None
        assert total() == before
    assert mirror.value("select sum(events) from tds.outcome_past") > 0


def test_a_large_backlog_is_estimated(mirror: Mirror) -> None:
    mirror.conn.execute(
        "insert into tds.inbox_open (inbox_id, received_at, queue, entity, retry_at)"
        " select n, now(), 'products', case when n % 4 = 0 then 'prices' else 'products' end, case when n % 2 = 0 then now() end"
        " from generate_series(1, 40000) n"
    )
    exact = mirror.rows(
        "select entity, status, events from tds.unfinished_events(10000) order by entity, status"
    )
    assert [(row["entity"], row["status"], row["events"]) for row in exact] == [
        ("prices", "failed", 10000),
        ("products", "failed", 10000),
        ("products", "pending", 20000),
    ]
    about = mirror.rows(
        "select entity, status, events from tds.unfinished_events(100) order by entity, status"
    )
    for row, right in zip(about, exact, strict=True):
        assert (row["entity"], row["status"]) == (right["entity"], right["status"])
        assert abs(row["events"] - right["events"]) < 0.3 * right["events"]
