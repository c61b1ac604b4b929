"""`make demo`: a company's Zoho Books mirrored, edited, hurt and compared to the last cent, in a minute.

Everything but Zoho is real: an embedded PostgreSQL, the receiver and two workers, processes of their own in
a directory of their own that goes with them. Exit code 0 only if everything agrees.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from typing import Any, LiteralString, NoReturn

import click
import httpx
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tds_cli.output import print_table
from tds_cli.progress import Steps
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_db.upgrade import upgrade
from tds_demo.adversary import Adversary, Met
from tds_demo.compare import ENTITIES, Comparison, Difference, Document, Record, read_json
from tds_demo.stage import ORGANIZATION, Stage
from tds_demo.truth import SOURCES, compare_all, truth
from tds_poller.migrate import migrate
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.settings import ZohoSettings

SIZES = {
    "items": 2218,
    "contacts": 2467,
    "invoices": 1000,
    "bills": 300,
    "vendorcredits": 40,
    "vendorpayments": 150,
    "creditnotes": 100,
    "customerpayments": 400,
    "salesorders": 200,
    "pricebooks": 7,
    "bad-records": 26,
}
CLOCK_SCALE = 240  # the sandbox's minute is a quarter of a second, and so is the span of its limits
ROUNDS = [{"count": 8, "create": 1, "void": 1}] * 4 + [{"count": 8, "create": 1, "delete": 1}]
KILL_IN_ROUND = 3
PATIENCE_SECONDS = 60.0

NAMES = {"name", "contact_name", "payment_number"} | {
    f"{kind}_number" for kind in ("invoice", "bill", "creditnote", "vendor_credit", "salesorder")
}
SILENT_COLUMNS = {"stock_quantity", "outstanding_receivable", "outstanding_payable"}


class Demo:
    """The acts of the demonstration, in the order in which they are called."""

    def __init__(self, stage: Stage, steps: Steps) -> None:
        self.stage = stage
        self.steps = steps
        with steps.step("PostgreSQL"):
            self.conninfo = conninfo()
        with steps.step("schema"):
            upgrade(self.conninfo)
            with psycopg.connect(self.conninfo) as conn:
                # The sandbox has no pace of its own for single records.
                conn.execute("update tds.setting set value = '90' where name = 'api_details_per_minute'")
                # Its clock runs ahead of the Date header, which tells the real time.
                conn.execute("update tds.setting set value = '864000' where name = 'stamp_ahead_seconds'")
        with steps.step("sandbox, receiver, workers"):
            sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
            speed = ["--clock-scale", str(CLOCK_SCALE), "--webhook-retry-seconds", str(CLOCK_SCALE)]
            sandbox = stage.start("sandbox", "--json", "--organization-id", ORGANIZATION, *sizes, *speed)
            receiver = stage.start("serve", "--port", "0")
            self.workers = {worker.pid: worker for worker in (self.new_worker(), self.new_worker())}
            os.environ |= json.loads(stage.first_line(sandbox))
            self.settings = ZohoSettings(minute_seconds=60 / CLOCK_SCALE, concurrency=8)
            self.control = httpx.Client(base_url=f"{os.environ['ZOHO_API_BASE']}/_sandbox", timeout=120)
            self.ask("/webhooks", url=stage.first_line(receiver))
        self.connection = psycopg.connect(self.conninfo, autocommit=True)
        self.changes: list[Document] = []

    def new_worker(self) -> subprocess.Popen[str]:
        """One worker, a process of its own."""
        return self.stage.start("work", "--workers", "1")

    def ask(self, page: str, **body: object) -> Any:
        """A control page of the sandbox; with a body it does something."""
        response = self.control.post(page, json=body) if body else self.control.get(page)
        response.raise_for_status()
        return read_json(response.text)

    def with_client(self, task: Callable[[ZohoClient, Mirror], Awaitable[None]]) -> None:
        """Runs something with a client and a mirror of its own."""

        async def run() -> None:
            async with (
                Mirror(self.conninfo, ORGANIZATION) as mirror,
                ZohoClient(self.settings, self.conninfo) as client,
            ):
                await task(client, mirror)

        asyncio.run(run())

    def migrate(self, steps: Steps) -> None:
        """Fetches all there is."""

        async def run(client: ZohoClient, mirror: Mirror) -> None:
            pulled = await migrate(client, mirror, steps)
            if missing := [row for row in pulled if row.missing]:
                raise TdsError(f"Details are missing: {missing}")

        self.with_client(run)

    def attack(self) -> list[Met]:
        """One forged stamp, one spell of 404s, one shifted page, one empty list."""
        with self.steps.step("an adversary"):
            adversary = Adversary(self.connection, self.ask, self.with_client, self.process, ORGANIZATION)
            met = adversary.attacks()
        truth.cache_clear()  # one of them deletes an invoice
        return met

    def process(self) -> None:
        """Waits until the workers have processed what has come."""
        self.wait(lambda: not self.rows("select from tds.inbox_open limit 1"), "the workers to finish")

    def migrate_again(self) -> None:
        """Fetches all there is once more: what Zoho changes without telling, and proofs of deletion."""
        with self.steps.step("once more, for what no webhook tells"), Steps(quiet=True) as quiet:
            # a price list changes without a sign, when an item in it is deleted for one
            self.connection.execute("select tds.want_again('pricelists', %s)", [ORGANIZATION])
            self.migrate(quiet)

    def edit(self) -> None:
        """Has the sandbox edit its records and send webhooks, and kills a worker in the middle."""
        with self.steps.step("edits and webhooks, a worker killed") as step:
            for number, kinds in enumerate(ROUNDS, start=1):
                changes = self.ask("/edit", **kinds)["changes"]
                self.changes += changes
                if number == KILL_IN_ROUND:
                    self.kill_a_worker()
                step.advance(len(changes))
                time.sleep(0.2)
            if not self.ask("/webhooks/drain", timeout=PATIENCE_SECONDS)["drained"]:
                raise TdsError("Some webhooks were not delivered.")
            # Every open event counts, parked retries too.
            self.process()

    def kill_a_worker(self) -> None:
        """SIGKILL for a worker that has a batch in hand; another one takes its place."""
        victims: list[int] = []

        def someone_works() -> bool:
            claims = self.rows("select worker from tds.claim")
            victims.extend(pid for pid in self.workers if any(w.endswith(f"/{pid}") for (w,) in claims))
            return bool(victims)

        self.wait(someone_works, "a worker to have a batch in hand")
        self.workers.pop(victims[0]).kill()
        worker = self.new_worker()
        self.workers[worker.pid] = worker

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TdsError(f"Waited in vain for {what}.")
            time.sleep(0.001)

    def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """What a query answers."""
        return self.connection.execute(query).fetchall()

    def delays(self) -> list[float]:
        """Milliseconds from the newest edit of each record to its row; a deletion waits for its proof."""
        synced_at: dict[str, float] = {}
        for entity in {ENTITIES[name].table: ENTITIES[name] for name in SOURCES}.values():
            query = sql.SQL("select {}, extract(epoch from synced_at)::float8 from zoho.{}").format(
                sql.Identifier(entity.id_column), sql.Identifier(entity.table)
            )
            synced_at |= dict(self.connection.execute(query).fetchall())
        edited_at = {
            change["id"]: float(change["wall"]) for change in self.changes if change["event"] != "delete"
        }
        return sorted(1000 * (synced_at.get(zoho_id, 0) - at) for zoho_id, at in edited_at.items())

    def wrong_by_webhook(self) -> list[Difference]:
        """Columns and children that differ in the edited records before anything is read again.

        They came by webhook alone. Not looked at: what Zoho changes without telling, keys that only lists
        carry, and records whose detail is wanted, which decides.
        """
        wanted = {zoho_id for (zoho_id,) in self.rows("select zoho_id from tds.wanted_detail")}
        edited = {change["id"] for change in self.changes if change["event"] != "delete"} - wanted
        results = self.compare("values compared that came by webhook", edited)
        return [
            difference
            for result in results
            for difference in result.differences
            if difference.zoho_id in edited
            and difference.path not in SILENT_COLUMNS
            and not difference.path.startswith("zoho_metadata.")
        ]

    def compare(self, what: str = "values compared", only: Collection[str] = ()) -> list[Comparison]:
        """Every record of every entity, or `only` those, with its row."""
        with self.steps.step(what) as step:
            return compare_all(
                self.control, self.connection, ORGANIZATION, SOURCES, only=only, on_progress=step.advance
            )

    def dead_letters(self) -> list[dict[str, object]]:
        """Each planted fault with the dead letters that name it; then those that no fault explains."""
        query = "select entity, zoho_id, path, value, reason, record from tds_dead_letter_queue"
        letters = self.connection.cursor(row_factory=dict_row).execute(query).fetchall()
        table: list[dict[str, object]] = []
        for fault in self.ask("/planted")["planted"]:
            record = next(r for r in truth(self.control, fault["entity"]) if r.zoho_id == fault["id"])
            mine = [letter for letter in letters if _is_due_to(fault, record, letter)]
            letters = [letter for letter in letters if letter not in mine]
            reason = mine[0]["reason"] if mine else "NOT FOUND"
            value = "(absent)" if fault["absent"] else repr(fault["value"][:20])
            found = {"reason given": reason, "letters": len(mine)}
            table.append({key: fault[key] for key in ("entity", "id", "path")} | {"value": value} | found)
        for letter in letters:
            place = {"entity": letter["entity"], "id": letter["zoho_id"], "path": letter["path"]}
            table.append(
                place | {"value": letter["value"], "reason given": f"NOT PLANTED: {letter['reason']}"}
            )
        return table


def _is_due_to(fault: Document, record: Record, letter: Document) -> bool:
    """Whether the fault planted in this record is what the dead letter is about."""
    told = read_json(letter["record"] or "{}")
    # A record that came without its id is known by its name and when it was created.
    names = ("created_time", *(key for key in told if key in NAMES))
    return (
        SOURCES[letter["entity"]] == fault["entity"]
        and letter["path"].replace("[", ".").replace("]", "") == fault["path"]
        and letter["value"] == (None if fault["absent"] else fault["value"][:200])
        and (letter["zoho_id"] or record.zoho_id) == record.zoho_id
        and (letter["zoho_id"] or all(told.get(name) == record.listed.get(name) for name in names))
    )


def report(
    results: list[Comparison],
    wrong_by_webhook: list[Difference],
    letters: list[dict[str, object]],
    delays: list[float],
    met: list[Met],
) -> bool:
    """Prints what came out; whether all agrees."""
    print_table(
        "The mirror against Zoho",
        [
            {
                "entity": r.entity,
                "in Zoho": r.records,
                "rows": r.rows,
                "values compared": r.values,
                "differing": r.differing,
            }
            for r in results
        ],
    )
    differences = wrong_by_webhook + [difference for result in results for difference in result.differences]
    if differences:
        print_table(
            "Differences (the first 20)",
            [
                {key: str(value)[:80] for key, value in asdict(difference).items()}
                for difference in differences[:20]
            ],
        )
    print_table("Dead letters: what was planted, what was found", letters)
    late = sum(delay < 0 for delay in delays)
    print_table(
        "From an edit to its row",
        [
            {
                "edited records": len(delays),
                "median ms": statistics.median(delays),
                "p99 ms": statistics.quantiles(delays, n=100, method="inclusive")[98],
                "not arrived": late,
            }
        ],
    )
    print_table("An adversary", [{key: value for key, value in row.items() if key != "ok"} for row in met])
    as_planted = all(letter.get("letters") for letter in letters)
    return not differences and as_planted and not late and all(row["ok"] for row in met)


def run(stage: Stage) -> bool:
    """The whole demonstration; whether all agrees."""
    began = time.monotonic()
    with Steps() as steps:
        demo = Demo(stage, steps)
        demo.migrate(steps)
        demo.edit()
        delays = demo.delays()
        wrong_by_webhook = demo.wrong_by_webhook()
        met = demo.attack()
        demo.migrate_again()
        results = demo.compare()
        letters = demo.dead_letters()
    agrees = report(results, wrong_by_webhook, letters, delays, met)
    verdict = "Everything agrees" if agrees else "NOT everything agrees"
    click.echo(f"{verdict}, after {time.monotonic() - began:.0f} s.")
    return agrees


def main() -> NoReturn:
    """Runs the demonstration and takes everything down, however it ends."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)  # said, because a shell's background jobs ignore it otherwise
    stage = Stage()
    try:
        sys.exit(0 if run(stage) else 1)
    except TdsError as error:
        click.echo(f"Error: {error}\n{stage.last_words()}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    finally:
        stage.close()
