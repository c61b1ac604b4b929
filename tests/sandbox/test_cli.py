"""`python -m tds_sandbox` prints what a client needs, and serves until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from click.testing import CliRunner

from tds_sandbox.cli import sandbox
from tests.journeys.waiting import PATIENCE
from tests.sandbox.conftest import HTTP, get_token


def test_prints_the_environment_and_serves() -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "tds_sandbox",
        "--items",
        "20",
        "--contacts",
        "20",
        "--invoices",
        "5",
        "--json",
    ]
    process = subprocess.Popen(
        [*command, "--bad-records", "2", "--day-limit", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        environment = json.loads(process.stdout.readline())
        assert set(environment) == {
            "ZOHO_API_BASE",
            "ZOHO_ACCOUNTS_BASE",
            "ZOHO_CLIENT_ID",
            "ZOHO_CLIENT_SECRET",
            "ZOHO_REFRESH_TOKEN",
            "ZOHO_ORGANIZATION_ID",
        }
        token = get_token(environment["ZOHO_ACCOUNTS_BASE"], environment)["access_token"]
        answer = HTTP.get(
            f"{environment['ZOHO_API_BASE']}/books/v3/items",
            params={"organization_id": environment["ZOHO_ORGANIZATION_ID"], "filter_by": "Status.All"},
            headers={"Authorization": f"Zoho-oauthtoken {token}"},
        )
        assert len(answer.json()["items"]) == 20
        assert answer.headers["X-Rate-Limit-Limit"] == "50"
        planted = HTTP.get(f"{environment['ZOHO_API_BASE']}/_sandbox/planted").json()["planted"]
        assert len(planted) == 2
    finally:
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert messages.decode().endswith("Stopped.\n")


def test_errors_name_what_to_do() -> None:
    result = CliRunner().invoke(sandbox, ["--items", "1", "--contacts", "0", "--invoices", "3"])
    assert (result.exit_code, "items and customers" in result.output) == (1, True)
    weak = CliRunner().invoke(
        sandbox, ["--items", "1", "--contacts", "1", "--invoices", "0"], env={"ZOHO_WEBHOOK_SECRET": "x"}
    )
    assert (weak.exit_code, "12 to 50" in weak.output) == (1, True)
    assert os.environ.get("ZOHO_WEBHOOK_SECRET") is None
