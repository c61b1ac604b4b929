"""Each role can do its work and nothing else: tried by acting as each."""

from __future__ import annotations

import psycopg
import pytest

from tests.db.servers import Database

BODY = b'{"item": {"item_id": "1", "name": "Cable"}}'
RECEIVE = 'select status from tds.receive(\'products\', \'{"item": {"item_id": "1"}}\')'

MAY = {
    "tds_receiver": [
        "select tds.check_api_key('')",
        "select tds.api_request_pull('products', '{}', '77', 'somebody')",
        "select tds.api_runs(null, null, null, 10)",
        "select tds.bulk_sync_refusal(), tds.installed_files(), tds.missing_queues(), tds.metrics()",
        RECEIVE,
        "select count(*) from tds.receive_many(array['products'], array['{}'::bytea])",
    ],
    "tds_worker": [
        "call tds.process_batch()",
        "call tds.run_due_jobs()",
        "call tds.run_job('snapshot_stock')",
    ],
    "tds_poller": [
        RECEIVE,
        "select tds.start_run('products', 'o')",
        "select * from tds.take_details('products', 'o')",
        "select list_filter from tds.entity",
        "select state from tds.run",
        "select tds.settle_pulls('o')",
        "select * from pgmq.read('tds_pull', 30, 1)",
        "select tds.listed('products', '{\"items\": []}')",
        "select tds.verify('products', 'o', '{}', now())",
        "select * from tds.verify_plan('o')",
        "select tds.waiting_events(array['products'])",
        "select tds.settle_call((tds.reserve_calls('o')).call_ids[1], 200, 0)",
        "select state from tds.access_token(repeat('a', 64))",
        "select * from tds_api_budget",
        "select * from tds.take_images('o')",
    ],
    "tds_operator": [
        "call tds.process_batch()",
        "select tds.requeue_unprocessed()",
        "select tds.replay('products')",
        "select tds.dismiss('{}', 'why')",
        "select * from tds_sync_queue",
        "select * from tds_dead_letter_queue",
        "select * from tds.explain_record('products', '1')",
        "select * from tds.rebuild_difference('products')",
        "call tds.rebuild('products', false)",
        "select tds.observe_drift()",
        "select tds.request_pull('products', '{}', '77')",
        "select tds.cancel_run(tds.request_pull('products', '{}', '77'))",
        "select tds.revoke_api_key((select name from (select tds.create_api_key('a'), 'a' as name) k))",
        "select * from tds_sync_runs",
        "select tds.ensure_partitions()",
        "select * from tds_jobs",
        "select tds.resume_calls('o'), tds.allow_refresh()",
        "select * from tds_api_spending",
    ],
    "tds_reader": [
        "select * from tds_sync_runs",
        "select * from tds_api_keys",
        "select * from tds_api_budget, tds_api_spending, tds_api_accounts, tds_api_outlook",
        "select * from products",
        "select * from tds_jobs",
        "select * from zoho.invoices",
        "select * from tds_queue_counts",
        "select * from tds.explain_record('products', '1')",
        "select * from tds.record_now('products', '1')",
        "select * from tds_schema_drift",
        "select * from tds_custom_fields",
        "select tds.custom_fields(zoho_metadata) from products",
    ],
}
MAY_NOT = {
    "tds_receiver": [
        # what a detail says is believed, and its deletion is a deletion
        "select tds.receive('products', '{\"item_id\": \"1\"}', '77', 'poller', 'detail', 'delete')",
        "select tds.receive('products', '{\"item_id\": \"1\"}', '77', 'webhook', 'detail')",
        "select tds.receive('products', '{\"item_id\": \"1\"}', '77', 'poller', 'webhook')",
        "select tds.receive('products', '{\"items\": []}', '77', 'webhook', 'list')",
        "select tds.receive('products', '{\"item_id\": \"1\"}', '77', run_id => 1)",
        "select tds.receive_many(array['products'], array['{}'::bytea], shape => 'detail', event => array['delete'])",
        "select tds.receive_many(array['products'], array['{}'::bytea], source => 'poller')",
        "select * from tds.inbox",
        "select * from zoho.products",
        "call tds.process_batch()",
        "insert into tds.inbox (received_at, entity, body) values (now(), 'products', '')",
        "select tds.replay('products')",
        "select * from tds.apply_claim(1)",
        "select tds.request_pull('products')",
        "select tds.create_api_key('a')",
        "select * from tds.run",
        "select * from pgmq.read('tds_pull', 30, 1)",
    ],
    "tds_worker": [
        RECEIVE,
        "delete from tds.inbox",
        "select * from zoho.products",
        "update tds.setting set value = '1'",
        "update tds.job set command = 'select 1'",
        "delete from tds.job_run",
    ],
    "tds_poller": [
        "call tds.run_job('snapshot_stock')",
        "call tds.process_batch()",
        "select * from zoho.products",
        "delete from tds.run",
        "select tds.replay('products')",
        "select tds.dismiss('{}', 'why')",
        "select * from pgmq.read('tds_products', 30, 1)",
        "select tds.create_api_key('a')",
        "select * from tds.api_token",
        "select tds.allow_refresh()",
        "update tds.api_budget set day_left = 1000",
    ],
    "tds_operator": [
        "call tds.run_job('snapshot_stock')",
        "call tds.run_due_jobs()",
        "select * from tds.install_jobs()",
        RECEIVE,
        "delete from tds.dead_letter",
        "update zoho.products set unit_price = 0",
        "update tds.setting set value = '1'",
        "select sha256 from tds.api_key",
        "select * from tds.access_token(repeat('a', 64))",
        "select * from tds.api_token",
    ],
    "tds_reader": [
        "call tds.run_job('snapshot_stock')",
        "call tds.run_due_jobs()",
        "select * from tds.install_jobs()",
        RECEIVE,
        "update zoho.products set unit_price = 0",
        "call tds.process_batch()",
        "select tds.requeue_unprocessed()",
        "select tds.request_pull('products')",
        "select tds.cancel_run(1)",
        "select sha256 from tds.api_key",
        "select * from pgmq.q_tds_products",
        "select * from tds.api_token",
        "select tds.reserve_calls('o')",
        "call tds.rebuild('products', false)",
        "select tds.observe_drift()",
    ],
}


def pairs(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(role, statement) for role, statements in table.items() for statement in statements]


@pytest.mark.parametrize(("role", "statement"), pairs(MAY))
def test_a_role_can_do_its_work(database: Database, role: str, statement: str) -> None:
    with database.connect(autocommit=True) as owner:
        owner.execute("select tds.receive('products', %b)", [BODY])
    with database.connect(autocommit=True, role=role) as conn:
        conn.execute(statement)


@pytest.mark.parametrize(("role", "statement"), pairs(MAY_NOT))
def test_a_role_can_do_nothing_else(database: Database, role: str, statement: str) -> None:
    with (
        database.connect(autocommit=True, role=role) as conn,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        conn.execute(statement)


def test_the_worker_applies_with_no_right_on_the_tables(database: Database) -> None:
    with database.connect(autocommit=True, role="tds_receiver") as conn:
        conn.execute("select tds.receive('products', %b)", [BODY])
    with database.connect(autocommit=True, role="tds_worker") as conn:
        outcome = conn.execute("call tds.process_batch()").fetchone()
    assert outcome is not None
    assert outcome[0]["applied"] == 1
    with database.connect(autocommit=True, role="tds_reader") as conn:
        assert conn.execute("select name from products").fetchone() == ("Cable",)


def test_nobody_sets_the_clock_of_a_real_database(database: Database) -> None:
    with database.connect(autocommit=True) as conn:
        conn.execute("select set_config('tds.fake_now', '2001-01-01', false)")
        assert conn.execute("select tds.now() < '2002-01-01'").fetchone() == (True,)
        conn.execute(f"alter database {conn.info.dbname} reset tds.test_database")
        conn.execute("set tds.test_database = 'on'")
        assert conn.execute("select tds.now() < '2002-01-01'").fetchone() == (False,)
