"""The rooms of db/functions are floors: whoever is above may call whoever is below, and some may less.

From the function files (which room a function or view stands in) and from what is installed (what it says).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.db.servers import Database, TestServer

FUNCTIONS = Path(__file__).parents[2] / "db" / "functions"
DEFINES = re.compile(r"^create or replace (?:function|procedure|view) (?:tds|public)\.(\w+)", re.MULTILINE)
WRITES = re.compile(
    r"\b(insert\s+into|update|delete\s+from|merge\s+into|truncate)\s+(?:only\s+)?((?:tds|zoho|pgmq)\.%?\w+)",
    re.I,
)

# Calls from a lower floor to a higher one: none but these.
UPWARD = {
    # the makers' functions are made from the mapping, an entity each; who applies calls them by the entity's name
    ("50_apply", "65_made"): "the made writers, inserters, readers of rows and links",
    ("20_registry", "65_made"): "a currency that is told late has the made checks of documents done anew",
    # one command rebuilds every queue, that of the pulls included
    ("50_apply", "70_fetch"): "requeue_unprocessed",
    # before a replay spends calls it says how many are left today
    ("50_apply", "90_surface"): "replay_costs",
    # a webhook that is refused at the door, but names its record, asks for the detail at once
    ("30_inbox", "40_wants"): "enqueue",
    # the answer to a repair is written as it is stored, whatever the row holds
    ("40_wants", "50_apply"): "store_detail",
}  # fmt: skip
UPWARD_CALLS = {
    "currency_changed": {"check_anew"},
    "requeue_unprocessed": {"requeue_pulls"},
    "replay_costs": {"tds_api_budget"},
    "enqueue": {"want"},
    "store_detail": {"write_forced", "forced_absence", "newest_told"},
}
# what no file defines is made by 65_made from the mapping, but for a view of what is told besides the mapping
MADE_ELSEWHERE = {"tds_custom_fields": "80_proof"}
MADE_SWITCHES = {
    *("write_states", "insert_events", "culprits", "suspects", "meet", "link_rows"),
    *("whole_rows", "delete_orphans"),
}

# What proof writes, besides nothing: its own ledgers of what was seen, and of what an upgrade left to fill.
PROOF_WRITES = {
    "note_drift": {"tds.drift"},
    "observe_drift": {"tds.drift_observed"},
    "accept_drift": {"tds.drift_observed"},
    "fill_new_columns": {"tds.column_to_fill"},
    "request_reconcile": {"tds.reconcile_run"},
    "request_reconciles": {"tds.reconcile_run"},
    "plan_reconcile": {"tds.reconcile_task"},
    "plan_second_look": {"tds.reconcile_run", "tds.reconcile_task"},
    "next_reconcile": {"tds.reconcile_run"},
    "reconcile_told": {"tds.reconcile_run", "tds.reconcile_task"},
    "end_reconcile": {"tds.reconcile_run"},
    "compare_report": {"tds.reconciliation"},
    "note_not_checked": {"tds.reconciliation"},
    "keep_discrepancies": {"tds.discrepancy"},
    "plan_explanations": {"tds.reconcile_task"},
    "explain_discrepancies": {"tds.discrepancy"},
    "note_discrepancy": {"tds.discrepancy"},
    "begin_verification": {"tds.verification"},
    "verify_step": {"tds.verification"},
    "note_differences": {"tds.verification_difference"},
    "confirm_differences": {"tds.verification_difference"},
    "leave_out": {"tds.verification"},
    "finish_verification": {"tds.verification", "tds.verification_difference"},
    "look_again": {"tds.verification_difference"},
    "take_verification": {"tds.verification"},
    "note_lists": {"tds.verification"},
    "note_detail": {"tds.verification"},
}
# The ledgers of care itself: what ran, what was found, what was done, how long things are kept.
CARE_LEDGERS = {
    "tds.job", "tds.job_run", "tds.health_check", "tds.health_result", "tds.health_state", "tds.measure", "tds.arrival",
    "tds.arrival_counted", "tds.heal_step", "tds.heal_log", "tds.retention_rule", "tds.retention_state", "tds.vacuum_wish",
    "tds.stock_day", "tds.alert", "tds.alert_mute", "tds.alert_delivery", "tds.alert_address", "tds.setting", "tds.delay",
    "tds.delay_counted", "tds.backup", "tds.backup_wanted",
}  # fmt: skip
# And what it does to others' tables, because doing it is all there is to the step.
CARE_WRITES = {
    "fold_counters": {"tds.outcome_counter"},  # slots of a day become one row
    "forget_day": {"tds.%1"},  # unfinished and dead rows move out of a partition before it is dropped
    "forget_inbox": {"tds.inbox"},  # retention: what a partition that is kept no longer needs
    "forget_outcomes": {
        "tds.inbox_outcome",
        "tds.outcome_counter",
        "tds.outcome_past",
    },  # the same, of outcomes; their counts stay
    "fold_stock": {"zoho.stock_history"},  # retention: days in place of moments
    "forget_wants": {"tds.wanted_detail"},  # retention: what nobody answers
    "forget_images": {"tds.image"},  # retention: of products that are gone
    "forget_image_files": {"tds.image_file"},  # marks those that nothing shows
    "heal_failed": {"tds.inbox_open"},  # a step of healing: tried again, or given up
    "heal_wants": {"tds.wanted_detail"},  # a step of healing: leases of the dead
    "heal_clock": {"tds.wanted_detail"},  # a step of healing: times that a clock which had jumped left behind
    "heal_lost_bodies": {
        "tds.inbox_open",
        "tds.dead_letter",
    },  # a step of healing: events whose body is gone
    "observe_health": {"tds.set_aside"},  # alerts that could not be raised before, and are now
    "heal_programs": {"tds.program"},  # a step of healing: those that say nothing any more
}


class House:
    """What stands where, and what it says: without its comments, and for its calls without its literals."""

    def __init__(self, database: Database) -> None:
        self.room = {
            name: file.parent.name
            for file in sorted(FUNCTIONS.rglob("*.sql"))
            for name in DEFINES.findall(file.read_text())
        }
        with database.connect() as conn:
            said = conn.execute(
                """select proname, string_agg(prosrc, E'\n') from pg_proc where pronamespace = 'tds'::regnamespace group by 1
                    union all
                   select relname, pg_get_viewdef(oid) from pg_class
                    where relkind = 'v' and relnamespace in ('tds'::regnamespace, 'public'::regnamespace)"""
            ).fetchall()
        # a hint may name what is to be called next; a text that is executed may write
        self.written = {name: re.sub(r"--[^\n]*", "", text) for name, text in said}
        self.said = {name: re.sub(r"'(?:[^']|'')*'", "", text) for name, text in self.written.items()}
        for name in self.said:
            self.room.setdefault(name, MADE_ELSEWHERE.get(name, "65_made"))

    def calls(self, name: str) -> set[str]:
        return {
            called
            for called in re.findall(r"\b(?:tds|public)\.(\w+)", self.said[name])
            if called in self.room
        } - {name}

    def of(self, *rooms: str) -> Iterator[str]:
        return (name for name in self.said if self.room[name] in rooms)

    def writes(self, name: str) -> set[str]:
        return {table for _, table in WRITES.findall(self.written[name])}


@pytest.fixture(scope="module")
def house(test_server: TestServer) -> Iterator[House]:
    with test_server.database() as database:
        yield House(database)


def floor(room: str) -> int:
    return int(room[:2])


def test_every_file_stands_in_a_room_and_every_function_in_one(house: House) -> None:
    where: dict[str, set[str]] = {}
    for file in FUNCTIONS.rglob("*.sql"):
        assert re.fullmatch(r"\d\d_\w+", file.parent.name), file
        for name in DEFINES.findall(file.read_text()):
            where.setdefault(name, set()).add(file.parent.name)
    assert {name: rooms for name, rooms in where.items() if len(rooms) > 1} == {}
    assert len(house.said) > 200


def test_nobody_calls_upwards_but_those_who_are_named(house: House) -> None:
    upward: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name in house.said:
        for called in house.calls(name):
            rooms = (house.room[name], house.room[called])
            if floor(rooms[0]) < floor(rooms[1]):
                upward.setdefault(rooms, set()).add((name, called))
    assert upward.keys() == UPWARD.keys(), upward
    for rooms, found in upward.items():
        for name, called in found:
            made = rooms == ("50_apply", "65_made") and called in MADE_SWITCHES
            assert made or called in UPWARD_CALLS.get(name, set()), (name, called)


def test_the_inbox_knows_no_entities(house: House) -> None:
    with_names = re.compile(r"\bzoho\.")
    assert [name for name in house.of("30_inbox") if with_names.search(house.said[name])] == []
    entities = {file.stem for file in (FUNCTIONS / "60_entities").glob("*.sql")} - {"reference", "stock"}
    for file in (FUNCTIONS / "30_inbox").glob("*.sql"):
        code = re.sub(r"--[^\n]*|^comment on[^;]*;", "", file.read_text(), flags=re.MULTILINE)
        assert {name for name in entities if f"'{name}'" in code} == set(), file


def test_who_fetches_stores_through_receive_alone(house: House) -> None:
    stores = {
        name: tables
        for name in house.of("70_fetch")
        if (tables := {table for table in house.writes(name) if table.startswith(("zoho.", "tds.inbox"))})
    }
    assert stores == {}
    assert {name for name in house.of("70_fetch") if "receive" in house.calls(name)} == {"store_page"}
    # answers are the two that no body tells: the picture that was fetched, and today's stock
    answers = {
        name: t
        for name in house.of("75_answers")
        if (t := {t for t in house.writes(name) if t.startswith(("zoho.", "tds.inbox"))})
    }
    assert answers == {"image_fetched": {"zoho.products"}, "snapshot_items": {"zoho.stock_history"}}


def test_the_apply_knows_nothing_of_zohos_api(house: House) -> None:
    calls = {(name, called) for name in house.of("50_apply", "60_entities") for called in house.calls(name)
             if house.room[called] in ("70_fetch", "75_answers")}  # fmt: skip
    assert calls == {("requeue_unprocessed", "requeue_pulls")}


def test_proof_reads_and_writes_its_own_ledgers_alone(house: House) -> None:
    assert {name: tables for name in house.of("80_proof") if (tables := house.writes(name))} == PROOF_WRITES


def test_care_calls_and_writes_its_own_ledgers_alone(house: House) -> None:
    others = {name: rest for name in house.of("85_care") if (rest := house.writes(name) - CARE_LEDGERS)}
    assert others == CARE_WRITES
