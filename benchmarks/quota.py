"""A migration over days of quota, against a sandbox with the real limits and a clock that runs faster.

    python -m benchmarks.quota                    10,000 invoices with details on 2,500 calls a day
    python -m benchmarks.quota --hurt             the same with faults, and killed every few seconds

What is shown: no limit is ever broken, every call is accounted for, the plan's forecast against what
happened, and the mirror against what the sandbox holds.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import httpx
import psycopg

from tds_cli.output import print_json, print_table
from tds_db.connect import conninfo
from tds_db.upgrade import upgrade
from tds_demo.compare import read_json
from tds_demo.stage import ORGANIZATION, Stage
from tds_demo.truth import compare_all

ITEMS, CONTACTS = 400, 300
# Eight in the morning where the organisation is, so that every run has as much of its first day.
START = "2026-11-24T08:00:00-0400"
FAULTS = {
    "error_500": 0.02,
    "bad_gateway": 0.01,
    "cut_before": 0.01,
    "cut_within": 0.01,
    "codes": {"44": 0.002, "43": 0.0003, "1070": 0.005, "45": 0.0003},
}
REVOKED_SECONDS = 2.0
ENTITIES = ("products", "customers", "vendors", "invoices")


class Quota:
    """The measurement.

    Args:
        stage: where its processes and files are.
        invoices: how many; each costs a call for its detail.
        day_limit: calls a day.
        scale: how much faster the sandbox's clock runs.
    """

    def __init__(self, stage: Stage, invoices: int, day_limit: int, scale: float) -> None:
        self.stage = stage
        self.day_limit = day_limit
        self.scale = scale
        upgrade(conninfo())
        sizes = ["--items", str(ITEMS), "--contacts", str(CONTACTS), "--invoices", str(invoices)]
        limits = ["--day-limit", str(day_limit), "--concurrency", "5", "--clock-scale", str(scale)]
        clock = ["--clock-start", START]
        sandbox = stage.start("sandbox", "--json", "--organization-id", ORGANIZATION, *sizes, *limits, *clock)
        os.environ |= json.loads(stage.first_line(sandbox))
        os.environ |= {"ZOHO_MINUTE_SECONDS": str(60 / scale), "ZOHO_CONCURRENCY": "5"}
        self.control = httpx.Client(base_url=f"{os.environ['ZOHO_API_BASE']}/_sandbox", timeout=300)
        self.connection = psycopg.connect(conninfo(), autocommit=True)
        self.kills = 0

    def ask(self, page: str, **body: object) -> Any:
        """A control page of the sandbox."""
        response = self.control.post(page, json=body) if body else self.control.get(page)
        response.raise_for_status()
        return read_json(response.text)

    def tds(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        command = [sys.executable, "-P", "-m", "tds_cli", *arguments, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
        if done.returncode not in {0, 4}:
            raise click.ClickException(f"tds {arguments[0]} ended with code {done.returncode}")
        return json.loads(done.stdout)

    def migrate(self) -> None:
        """In one go."""
        self.tds("migrate")

    def migrate_hurt(self, rng: random.Random) -> None:
        """Killed every few seconds, refused for a while, with a page edited while lists are read."""
        self.ask("/faults", **FAULTS)
        while True:
            migration = self.stage.start("migrate", "--json")
            try:
                code = migration.wait(rng.uniform(3, 9))
            except subprocess.TimeoutExpired:
                migration.kill()
                migration.wait()
                self.kills += 1
                self.hurt()
                continue
            if code == 0:
                return
            # a limit, an outage or a refusal: an operator would start it again later, after a look
            time.sleep(rng.uniform(0.5, 1.5))
            self.connection.execute("select tds.allow_refresh()")

    def hurt(self) -> None:
        """Between two lives of the migration."""
        if self.kills <= 5:
            self.ask("/edit", count=4)
        if self.kills == 3:
            self.ask("/oauth", revoked=True, revoke_tokens=True)
            broken = self.stage.start("migrate", "--json")
            time.sleep(REVOKED_SECONDS)
            broken.kill()
            broken.wait()
            self.ask("/oauth", revoked=False)
            self.connection.execute("select tds.allow_refresh()")

    def wasted(self) -> int:
        """Details that were fetched although the very same answer was stored already."""
        row = self.connection.execute(
            """select coalesce(sum(n - 1), 0)
                 from (select count(*) as n from tds.inbox
                        where source = 'poller' and shape = 'detail' group by entity, md5(body)) i"""
        ).fetchone()
        assert row is not None
        return int(row[0])

    def counted(self) -> int:
        """Calls that the database has counted."""
        row = self.connection.execute("select coalesce(sum(calls), 0) from tds_api_spending").fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def staged() -> Iterator[Stage]:
    """A place of its own, taken down afterwards."""
    stage = Stage()
    try:
        yield stage
    except BaseException:
        click.echo(stage.last_words(), err=True)
        raise
    finally:
        stage.close()


@click.command()
@click.option("--invoices", default=10_000, show_default=True, help="Invoices, each of them a call.")
@click.option("--day-limit", default=2_500, show_default=True, help="Calls a day.")
@click.option("--scale", default=1_440.0, show_default=True, help="How much faster the sandbox's clock runs.")
@click.option("--hurt", is_flag=True, help="Faults, refusals, edits and kills.")
@click.option("--seed", default=1, show_default=True, help="Of the faults' timing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, invoices: int, day_limit: int, scale: float, hurt: bool, seed: int, as_json: bool) -> None:
    """Migrates and reports; exit code 1 if a rule was broken or anything differs."""
    with staged() as stage:
        quota = Quota(stage, invoices, day_limit, scale)
        plan = quota.tds("plan")
        planned = sum(row["list_calls"] + row["detail_calls"] for row in plan["entities"])
        forecast = (datetime.fromisoformat(plan["ends_at"]) - datetime.now(UTC)).total_seconds()
        began = time.monotonic()
        if hurt:
            quota.migrate_hurt(random.Random(seed))
        else:
            quota.migrate()
        seconds = time.monotonic() - began
        ledger = quota.ask("/ledger")
        spent = quota.counted()
        struck = quota.ask("/faults")["struck"]
        wasted = quota.wasted()
        if hurt:
            quota.ask("/faults", seed=1)
            # what was edited after its list had been read is read by the next pull, as every day
            quota.migrate()
        results = compare_all(quota.control, quota.connection, ORGANIZATION, ENTITIES)
        asked = sum(calls for path, calls in ledger["by_path"].items() if path.startswith("GET"))
        told = {
            "calls planned": planned,
            "calls made": asked - plan["spent"],
            "made / planned": round((asked - plan["spent"]) / planned, 3),
            "counted in the database": spent,
            "asked of the sandbox": asked,
            "same answer sent again": ledger["repeated"],
            "same detail stored again": wasted,
            "days of quota, planned": plan["days"],
            "days of quota, used": len([day for day, calls in ledger["by_day"].items() if calls]),
            "days until the end, planned": round(forecast * scale / 86_400, 2),
            "days until the end": round(seconds * scale / 86_400, 2),
            "limits broken": len(ledger["violations"]),
            "faults struck": struck,
            "kills": quota.kills,
            "values compared": sum(result.values for result in results),
            "values differing": sum(result.differing for result in results),
        }
        if as_json:
            print_json({**told, "ledger": ledger})
        else:
            print_table(
                "A migration within its quota", [{"what": k, "figure": str(v)} for k, v in told.items()]
            )
        if told["values differing"] or told["limits broken"] or hurt != bool(struck):
            sys.exit(1)


if __name__ == "__main__":
    main()
