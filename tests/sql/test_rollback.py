"""The runbook of docs/rollback.md, performed statement by statement."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.sql.conftest import ORGANIZATION, Mirror
from tests.sql.test_history import invoice
from tests.sql.test_undo import Runs

RUNBOOK = Path(__file__).parents[2] / "docs" / "rollback.md"


def steps() -> dict[int, list[str]]:
    """The statements of each step."""
    parts = re.split(r"^\*\*(\d)\. ", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {
        int(number): [
            statement.strip()
            for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
            for statement in block.split(";\n")
            if statement.strip()
        ]
        for number, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_the_runbook_is_performed(mirror: Mirror) -> None:
    runs = Runs(mirror)
    known = invoice(1, last_modified_time="2026-02-01T09:00:00+0000")
    runs.webhook("invoices", {"invoice": known})
    before = runs.state()
    wrong = [
        invoice(n, last_modified_time="2026-02-02T09:00:00+0000", total=-1, status="void") for n in (1, 2, 3)
    ]
    run = runs.pull("invoices", "invoices", wrong)
    going_on = mirror.value("select tds.start_run('bills', %s)", ORGANIZATION)
    assert runs.state() != before
    does = steps()
    assert [number for number, said in does.items() if said] == [1, 2, 4, 5]

    def perform(number: int) -> list[dict[str, object]]:
        last: list[dict[str, object]] = []
        for statement in does[number]:
            cursor = mirror.conn.execute(statement.replace(":run", str(run)))
            names = [column.name for column in cursor.description or ()]
            last = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []
        return last

    mirror.conn.execute("insert into tds.setting values ('organization_id', to_jsonb(%s::text), '') on conflict (name) do update "
                        "set value = excluded.value", [ORGANIZATION])  # fmt: skip
    perform(1)
    with pytest.raises(psycopg.Error) as refused:
        mirror.value("select tds.request_pull('invoices', '{}')")
    assert refused.value.sqlstate == "ZB011"
    perform(2)
    assert mirror.value("select state from tds.run where run_id = %s", going_on) == "cancelled"
    # webhooks are on: what they tell stays
    runs.webhook(
        "invoices", {"invoice": wrong[2] | {"total": 77, "last_modified_time": "2026-03-01T12:30:00+0000"}}
    )
    done = perform(4)
    assert {str(row["action"]): row["count"] for row in done} == {"restored": 1, "removed": 1, "kept": 1}
    assert mirror.value("select total_amount from zoho.invoices where zoho_invoice_id = '990003'") == 77
    assert before["invoices"][0] in runs.state()["invoices"]
    perform(5)
    mended = mirror.value("select max(run_id) from tds.run where entity = 'invoices'")
    assert mended > run
    body = psycopg.types.json.Jsonb(
        {"invoices": [doc | {"total": 100, "status": "sent"} for doc in wrong[:2]]}
    )
    runs.tick(30)
    mirror.value("select tds.begin_pull(%s, pg_backend_pid())", mended)
    mirror.value(
        "select tds.store_page(%s, 1, convert_to(%s::text, 'UTF8'), %s, false, 2)", mended, body, runs.now
    )
    mirror.process()
    assert mirror.value(
        "select array_agg(total_amount::int order by zoho_invoice_id) from zoho.invoices"
    ) == [100, 100, 77]
