"""`tds connect`: from a grant code to a file that all programs read, against the sandbox's accounts server."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from tds_db.envfile import as_text
from tds_poller.zoho.scopes import READING, SCOPES, scope_string
from tds_poller.zoho.settings import DATA_CENTRES
from tds_sandbox.oauth import Credentials
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import Running, running
from tests.commands import tds
from tests.db.servers import Database
from tests.journeys.programs import TDS, environment
from tests.journeys.waiting import PATIENCE

KNOWN = Credentials()


class Folder:
    """A folder that somebody stands in, and the sandbox as Zoho."""

    def __init__(self, path: Path, sandbox: Running) -> None:
        self.path, self.sandbox = path, sandbox
        self.file = path / "tds.env"
        self.variables = environment(
            ZOHO_ACCOUNTS_BASE=sandbox.url, ZOHO_API_BASE=sandbox.url, TDS_DATA_DIR=str(path / "data")
        )

    def tds(self, *arguments: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        """Runs the command here, in this process."""
        with chdir(self.path):
            return tds(self.variables | changes, *arguments, stdin=stdin)

    def connect(self, *arguments: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        """Without the doctor."""
        return self.tds("connect", "--no-doctor", *arguments, stdin=stdin, **changes)

    def lines(self) -> dict[str, str]:
        """What the file says."""
        return dict(line.split("=", 1) for line in self.file.read_text().splitlines() if "=" in line)


GIVEN = ("--client-id", KNOWN.client_id, "--code", KNOWN.grant_code)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with running([Organisation(items=1), Organisation(items=1, organization_id="60069194202")]) as sandbox:
        yield Folder(tmp_path, sandbox)


def test_from_a_code_to_rows_in_one_file(tmp_path: Path, database: Database) -> None:
    with running(Organisation(items=3, contacts=2, invoices=1)) as sandbox:
        folder = Folder(tmp_path, sandbox)
        mine = {"TDS_DATABASE_URL": database.conninfo, "ZOHO_DC": "eu"}
        folder.file.write_text("# mine\n" + as_text(mine))
        done = folder.tds("connect", *GIVEN, "--json", stdin=f"{KNOWN.client_secret}\n")
        answer = json.loads(done.stdout)
        assert {check["check"] for check in answer["checks"] if not check["ok"]} <= {"webhook secret"}
        assert {f"scope {name}" for name in SCOPES} <= {check["check"] for check in answer["checks"]}
        assert done.returncode == 0, done.stdout
        assert scope_string() in done.stderr
        assert stat.S_IMODE(folder.file.stat().st_mode) == 0o600
        said = folder.lines()
        assert folder.file.read_text().startswith("# mine\n" + as_text(mine).partition("ZOHO_DC")[0])
        assert (said["ZOHO_ORGANIZATION_ID"], said["ZOHO_API_BASE"]) == ("748139205", sandbox.url)
        assert said["ZOHO_WEBHOOK_SECRET"].isalnum()
        assert said["ZOHO_REFRESH_TOKEN"] != KNOWN.refresh_token
        secrets = {KNOWN.client_secret, said["ZOHO_REFRESH_TOKEN"], said["ZOHO_WEBHOOK_SECRET"]}
        assert not [secret for secret in secrets if secret in done.stdout + done.stderr]
        # nothing but the file, and no variable, says where Zoho is
        bare = environment(TDS_DATA_DIR=str(tmp_path / "data"))
        folder.variables = bare
        pulled = folder.tds("pull", "products", "--json")
        assert (pulled.returncode, json.loads(pulled.stdout)[0]["records"]) == (0, 3), pulled.stderr
        elsewhere = subprocess.run(
            [*TDS, "plan", "products", "--json"],
            env=bare | {"TDS_ENV_FILE": str(folder.file)},
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert elsewhere.returncode == 0


def test_of_several_organisations_one_is_chosen_without_another_code(folder: Folder) -> None:
    done = folder.connect(*GIVEN, ZOHO_CLIENT_SECRET=KNOWN.client_secret)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "Next: tds connect --organization ID")
    assert "748139205" in done.stderr
    assert "ZOHO_ORGANIZATION_ID" not in folder.lines()
    token = folder.lines()["ZOHO_REFRESH_TOKEN"]
    wrong = folder.connect("--organization", "1234567890")
    assert (wrong.returncode, "has no organisation 1234567890; it has" in wrong.stderr) == (1, True)
    assert folder.connect("--organization", "60069194202").returncode == 0
    assert (folder.lines()["ZOHO_ORGANIZATION_ID"], folder.lines()["ZOHO_REFRESH_TOKEN"]) == (
        "60069194202",
        token,
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"--code": "1000.used.up"}, "does not accept the grant code"),
        ({"--client-id": "1000.X"}, "does not know this client"),
        ({"secret": "wrong"}, "does not accept the client secret"),
    ],
)
def test_what_zoho_refuses_writes_nothing(folder: Folder, changes: dict[str, str], told: str) -> None:
    given = dict(zip(GIVEN[::2], GIVEN[1::2], strict=True)) | changes
    secret = given.pop("secret", KNOWN.client_secret)
    done = folder.connect(*[part for pair in given.items() for part in pair], stdin=secret + "\n")
    assert done.returncode == 1
    assert told in done.stderr
    assert "Next: tds connect" in done.stderr
    assert not folder.file.exists()


def test_the_consoles_file_printed(folder: Folder) -> None:
    download = {"client_id": KNOWN.client_id, "client_secret": KNOWN.client_secret, "code": KNOWN.grant_code}
    (folder.path / "self_client.json").write_text(json.dumps(download | {"scope": [], "expiry_time": 1}))
    given = ("--self-client", "self_client.json", "--organization", "748139205", "--print")
    done = folder.connect(*given)
    assert done.returncode == 0, done.stderr
    assert "ZOHO_ORGANIZATION_ID=748139205" in done.stdout.splitlines()
    assert not folder.file.exists()
    assert "used already" in folder.connect(*given).stderr
    (folder.path / "self_client.json").write_text("[]")
    assert "does not hold client_id" in folder.connect(*given).stderr


def test_secrets_are_asked_for_without_echo(folder: Folder) -> None:
    controller, terminal = pty.openpty()
    command = [*TDS, "connect", "--no-doctor", "--organization", "748139205"]
    with subprocess.Popen(
        command,
        env=folder.variables,
        cwd=folder.path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        shown = ""

        def answer(prompt: str, text: str) -> None:
            nonlocal shown
            deadline = time.monotonic() + PATIENCE
            while prompt not in shown.rpartition("\0")[2]:
                assert time.monotonic() < deadline
                shown += os.read(controller, 4096).decode()
            shown += "\0"
            os.write(controller, f"{text}\n".encode())

        answer("Client ID: ", KNOWN.client_id)
        answer("Client secret: ", KNOWN.client_secret)
        answer("Grant code: ", KNOWN.grant_code)
        assert process.wait(PATIENCE) == 0
        while True:
            try:
                shown += os.read(controller, 4096).decode()
            except OSError:
                break
    os.close(controller)
    assert KNOWN.client_id in shown
    assert KNOWN.client_secret not in shown
    assert KNOWN.grant_code not in shown
    assert folder.lines()["ZOHO_ORGANIZATION_ID"] == "748139205"


def test_the_code_is_not_spent_where_nothing_can_be_written(folder: Folder) -> None:
    folder.file.mkdir()
    given = (*GIVEN, "--organization", "748139205")
    done = folder.connect(*given, stdin=KNOWN.client_secret)
    assert (done.returncode, "cannot be read: Is a directory" in done.stderr) == (1, True)
    folder.file.rmdir()
    missing = folder.connect(*given, "--file", "no/such.env", stdin=KNOWN.client_secret)
    assert (missing.returncode, "cannot be written: No such file" in missing.stderr) == (1, True)
    done = folder.connect(*given, "--file", "other.env", stdin=KNOWN.client_secret)
    assert (done.returncode, f"TDS_ENV_FILE={folder.path / 'other.env'}" in done.stderr) == (0, True)


@pytest.mark.parametrize("dc", DATA_CENTRES)
def test_each_data_centre_has_its_console(dc: str) -> None:
    hosts = DATA_CENTRES[dc]
    assert hosts.console == hosts.accounts.replace("accounts", "api-console")


def test_the_scope_string_is_the_doctors_list() -> None:
    assert scope_string().split(",") == [f"ZohoBooks.{name}.READ" for name in SCOPES] == list(READING)
