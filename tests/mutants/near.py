"""Which tests stand near a file: those that are to notice when it breaks, the nearest and fastest first."""

from __future__ import annotations

CATALOG = "tests/pgtap/catalog"

# By the longest beginning of a path that fits.
NEAR = {
    "db/functions/10_ground": (
        "pgtap/readers", "sql/test_documents.py", "sql/test_records.py", "sql/test_raw_first.py", "sql/test_roles.py",
    ),
    "db/functions/10_ground/bounds.sql": ("attacks/test_bounds.py", "attacks/test_growth.py", "sql/test_retention.py"),
    "db/functions/10_ground/locks.sql": ("sql/test_locks.py", "sql/test_concurrency.py", "sql/test_jobs.py"),
    "db/functions/20_registry": (
        "sql/test_documents.py", "sql/test_records.py", "sql/test_pulls.py", "sql/test_raw_first.py", "sql/test_custom_fields.py",
        "receiver/test_webhooks.py", "poller/test_plan.py", "poller/test_poll.py", "poller/test_migrate.py",
    ),
    "db/functions/30_inbox": (
        "sql/test_raw_first.py", "sql/test_partitions.py", "sql/test_isolation.py", "sql/test_records.py",
        "sql/test_explain.py", "sql/test_concurrency.py", "receiver/test_bulk_sync.py", "receiver/test_webhooks.py",
    ),
    "db/functions/40_wants": (
        "sql/test_wants.py",
        "sql/test_records.py", "sql/test_pulls.py", "sql/test_documents.py", "sql/test_stock_and_prices.py", "sql/test_trust.py",
        "sql/test_order_free.py", "poller/test_worker.py", "poller/test_poll.py", "poller/test_migrate.py",
    ),
    "db/functions/50_apply": (
        "sql/test_life.py", "sql/test_error_context.py", "sql/test_evidence.py",
        "sql/test_records.py", "sql/test_isolation.py", "sql/test_raw_first.py", "sql/test_documents.py", "sql/test_trust.py",
        "sql/test_order_free.py", "sql/test_explain.py", "sql/test_concurrency.py", "sql/test_rebuild.py",
        "sql/test_locks.py", "journeys/test_worker_death.py", "poller/test_worker.py", "poller/test_migrate.py",
    ),
    "db/functions/50_apply/holders.sql": ("sql/test_nothing_waits.py", "sql/test_locks.py", "journeys/test_hanging.py"),
    "db/functions/50_apply/deletions.sql": ("sql/test_proofs.py", "sql/test_life.py", "poller/test_spoilt_answers.py"),
    "db/functions/50_apply/replay.sql": (
        "sql/test_records.py", "sql/test_isolation.py", "db/test_backup.py", "poller/test_cli.py",
    ),
    "db/functions/60_entities": (
        "sql/test_life.py",
        "sql/test_documents.py", "sql/test_stock_and_prices.py", "sql/test_records.py", "sql/test_arithmetic.py",
        "sql/test_trust.py", "sql/test_recorded.py", "sql/test_rebuild.py", "sql/test_custom_fields.py", "sql/test_locks.py",
        "poller/test_migrate.py",
    ),
    "db/functions/65_made": (
        "sql/test_made.py", "sql/test_life.py",
        "sql/test_records.py", "sql/test_documents.py", "sql/test_isolation.py", "sql/test_stock_and_prices.py",
        "sql/test_order_free.py", "sql/test_rebuild.py", "sql/test_arithmetic.py", "sql/test_locks.py",
        "sql/test_concurrency.py", "sql/test_trust.py", "poller/test_verify.py", "poller/test_migrate.py",
    ),
    "db/functions/70_fetch": (
        "sql/test_pulls.py", "sql/test_budget.py", "sql/test_records.py", "poller/test_plan.py", "poller/test_poll.py",
        "poller/test_cli.py", "poller/test_migrate.py", "poller/test_budget.py", "sql/test_roles.py",
    ),
    "db/functions/70_fetch/budget.sql": ("sql/test_budget.py", "poller/test_budget.py", "poller/test_plan.py"),
    "db/functions/70_fetch/token.sql": ("sql/test_budget.py", "poller/test_budget.py", "poller/test_client.py"),
    "db/functions/75_answers": ("pgtap/prices", "sql/test_stock_and_prices.py", "receiver/test_images.py", "poller/test_images.py"),
    "db/functions/80_proof": (
        "sql/test_rebuild.py", "sql/test_explain.py", "sql/test_custom_fields.py", "sql/test_trust.py", "sql/test_records.py",
        "sql/test_documents.py", "sql/test_arithmetic.py", "poller/test_verify.py",
    ),
    "db/functions/85_care": (
        "sql/test_health.py",
        "sql/test_jobs.py", "sql/test_fold_counters.py", "sql/test_partitions.py", "sql/test_stock_and_prices.py",
        "receiver/test_bulk_sync.py",
    ),
    "db/functions/85_care/3_install.sql": ("sql/test_settings.py", "sql/test_jobs.py"),
    "db/functions/85_care/backups.sql": ("db/test_backups.py", "sql/test_health.py"),
    "db/functions/85_care/checks_reconcile.sql": ("poller/test_reconcile.py", "sql/test_health.py"),
    "db/functions/86_memory/3_remove.sql": ("sql/test_organisations.py",),
    "db/functions/86_memory": ("sql/test_forget.py", "sql/test_undo.py", "sql/test_rollback.py", "sql/test_history.py"),
    "db/functions/90_surface/web.sql": ("sql/test_migration_progress.py", "receiver/test_dashboard.py"),
    "db/functions/90_surface": (
        "sql/test_one_door.py",
        "sql/test_raw_first.py", "sql/test_isolation.py", "sql/test_records.py", "sql/test_roles.py", "sql/test_budget.py",
        "sql/test_stock_and_prices.py", "sql/test_documents.py", "sql/test_arithmetic.py", "sql/test_explain.py",
        "sql/test_concurrency.py", "receiver/test_dashboard.py", "receiver/test_bulk_sync.py", "poller/test_cli.py",
        "poller/test_plan.py", "receiver/test_authenticity.py",
    ),
    "db/functions/95_shards": ("shards",),
    "db/router": ("shards",),
    "db/functions/99_grants": ("sql/test_roles.py", "sql/test_records.py", "receiver/test_bulk_sync.py", "poller/test_cli.py"),
    "db/tds_db": ("db", "poller/test_worker.py", "sql/test_jobs.py", "sql/test_restore.py"),
    "db/tds_db/alerting.py": ("db/test_alert_sending.py", "poller/test_worker.py"),
    "db/tds_db/images.py": ("poller/test_images.py", "receiver/test_images.py"),
    "db/tds_db/worker.py": ("poller/test_worker.py", "sql/test_jobs.py", "journeys/test_worker_death.py", "poller/test_up.py"),
    "receiver/tds_receiver": (
        "receiver/test_bodies.py", "receiver/test_signature.py", "receiver/test_webhooks.py", "receiver/test_batching.py",
        "receiver/test_limits.py", "receiver/test_organisations.py", "receiver/test_hostile.py", "receiver/test_bulk_sync.py",
        "receiver/test_serve.py", "poller/test_cli.py",
    ),
    "receiver/tds_receiver/api": (
        "receiver/test_bulk_sync.py", "receiver/test_authenticity.py", "receiver/test_dashboard.py", "receiver/test_webhooks.py",
        "receiver/test_hostile.py",
    ),
    "receiver/tds_receiver/protocol.py": ("attacks/test_room.py", "receiver/test_limits.py", "receiver/test_hostile.py"),
    "receiver/tds_receiver/images.py": ("receiver/test_images.py",),
    "poller/tds_poller": (
        "poller/test_poll.py", "poller/test_cli.py", "poller/test_worker.py", "poller/test_migrate.py", "poller/test_verify.py",
        "poller/test_plan.py", "sql/test_pulls.py",
    ),
    "poller/tds_poller/images.py": ("poller/test_images.py",),
    "poller/tds_poller/forecast.py": ("poller/test_plan.py", "poller/test_cli.py", "poller/test_migrate.py"),
    "poller/tds_poller/verify.py": ("poller/test_verify.py",),
    "poller/tds_poller/migrate.py": ("poller/test_migrate.py", "poller/test_progress.py", "poller/test_cli.py"),
    "poller/tds_poller/zoho": (
        "poller/test_client.py", "poller/test_budget.py", "poller/test_doctor.py", "poller/test_cli.py", "poller/test_poll.py",
        "poller/test_migrate.py",
    ),
    "cli/tds_cli": ("poller/test_cli.py", "db/test_cli.py", "sql/test_explain.py", "receiver/test_bulk_sync.py", "sql/test_jobs.py"),
    "cli/tds_cli/plan.py": ("poller/test_plan.py", "poller/test_cli.py"),
    "cli/tds_cli/health.py": ("sql/test_health.py",),
    "cli/tds_cli/migrate.py": ("poller/test_migrate.py", "poller/test_progress.py", "poller/test_cli.py"),
    "cli/tds_cli/verify.py": ("poller/test_verify.py",),
    "cli/tds_cli/poll.py": ("poller/test_poll.py", "poller/test_cli.py"),
    "cli/tds_cli/work.py": ("poller/test_worker.py", "sql/test_jobs.py"),
    "cli/tds_cli/doctor.py": ("poller/test_doctor.py",),
    "cli/tds_cli/up.py": ("poller/test_up.py",),
    "cli/tds_cli/progress.py": ("poller/test_progress.py",),
    "cli/tds_cli/completion.py": ("poller/test_progress.py",),
    "cli/tds_cli/explain.py": ("sql/test_explain.py",),
    "cli/tds_cli/jobs.py": ("sql/test_jobs.py",),
    "cli/tds_cli/images.py": ("poller/test_images.py",),
    "cli/tds_cli/serve.py": ("receiver/test_serve.py", "poller/test_cli.py"),
    "cli/tds_cli/db.py": ("db/test_cli.py", "poller/test_doctor.py"),
    "cli/tds_cli/keys.py": ("receiver/test_bulk_sync.py", "receiver/test_authenticity.py"),
    "cli/tds_cli/pull.py": ("poller/test_cli.py", "poller/test_plan.py", "poller/test_poll.py", "poller/test_verify.py",
                            "poller/test_progress.py"),
    "cli/tds_cli/org.py": ("sql/test_organisations.py", "poller/test_organisations.py"),
    "cli/tds_cli/shard.py": ("shards",),
    "poller/tds_poller/fleet.py": ("poller/test_organisations.py", "poller/test_poll.py"),
    "cli/tds_cli/runs.py": ("poller/test_cli.py", "poller/test_migrate.py", "poller/test_poll.py"),
}  # fmt: skip


def near_to(path: str) -> list[str]:
    """The tests to run when `path` is broken."""
    nearest = max((known for known in NEAR if path.startswith(known)), key=len)
    tests = [f"tests/{test}" for test in NEAR[nearest]]
    return [*tests, CATALOG] if path.endswith(".sql") else tests
