"""Many organisations on two shards: migrated, edited, moved, a shard killed; in the end all is as Zoho has it, and no call was for nothing.

The drill of docs/scale.md: TDS_THOUSAND_ORGANISATIONS=6 is a small one, 1000 a large one.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import all_servers
from tests.db.servers import PrivateServer
from tests.shards.conftest import why_not
from tests.shards.thousand import Size, thousand


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, PrivateServer]]:
    """Two servers that can be killed."""
    if "TDS_THOUSAND_ORGANISATIONS" not in os.environ:
        pytest.skip("TDS_THOUSAND_ORGANISATIONS is not set: six of them take 40 seconds of CPU")
    if reason := why_not():
        pytest.skip(reason)
    # as little is forgotten in a crash as the sandbox's minute is short
    made = {
        name: all_servers(request.config).private(
            "pg15", {"wal_writer_delay": "10ms", "fsync": "off"}, upgraded=True
        )
        for name in ("a", "b")
    }
    yield made
    for server in made.values():
        server.stop()


@pytest.mark.timeout(7200)
def test_organisations_on_two_shards_end_as_zoho_has_them(
    request: pytest.FixtureRequest,
    servers: dict[str, PrivateServer],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    size = Size.of_the_environment()
    with (
        all_servers(request.config).get("pg15").empty_database() as router,
        thousand(size, router, servers, tmp_path) as stage,
    ):
        stage.begin()
        expected = size.organisations * (12 + size.documents)
        stage.until(lambda: stage.calls() > expected // 6, "the migration is under way")
        stage.move_some()
        stage.until(lambda: stage.calls() > expected // 2, "half of it is done")
        stage.kill("b")
        stage.settle()

        wasted, lost = stage.needless()
        differences, values = stage.differences()
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        told = {
            "size": vars(size),
            "calls": stage.calls(),
            "changes": sum(len(each.changes) for each in stage.organisations.values()),
            "webhooks": sum(len(each.deliveries) for each in stage.sandbox.sandbox.webhooks.values()),
            "values": values,
            "differing": len(differences),
            "refused by a limit": len(stage.sandbox.ledger.violations),
            "moved": list(stage.moved),
            "for nothing": wasted[:50],
            "lost to the kill": lost[:50],
            "moves called again": dict(stage.refused),
            "as it went": stage.told,
            "cpu seconds": {
                "sandbox and test": round(used[0].ru_utime + used[0].ru_stime),
                "programs": round(used[1].ru_utime + used[1].ru_stime),
                "shards": [round(stage.cpu_seconds(shard)) for shard in stage.shards.values()],
            },
        }
        record_property("thousand", json.dumps(told))
        print(json.dumps(told, indent=1))
        assert differences == []
        assert values > size.organisations * (size.products + size.documents) * 10
        assert stage.strays() == []
        assert stage.sandbox.ledger.violations == []
        assert wasted == []
        assert stage.webhooks_stored() == {}
        states = {
            each.state for hooks in stage.sandbox.sandbox.webhooks.values() for each in hooks.deliveries
        }
        assert states == {"delivered"}
