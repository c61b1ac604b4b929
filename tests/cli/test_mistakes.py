"""Mistakes that people make: for each the message, the exit code, and the next command; never a traceback."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tds_cli.main import main
from tds_cli.up import alone
from tds_poller.zoho import retry
from tests.cli.test_doors import commands
from tests.conftest import RUNNING, all_servers
from tests.db.servers import Database
from tests.journeys.programs import TDS, environment
from tests.poller.conftest import Poller, small_sandbox

SECRET = "s3cret-value"
NOBODY = "postgresql://u:s3cret-value@127.0.0.1:1/x"
NEXT = re.compile(r"Next: \S|next: \S|Try 'tds|See: tds|select entity from tds")
# What belongs to nobody who reads a message: our tools' own wording.
FOREIGN = re.compile(
    r"Traceback|Field required|Input should|pydantic|validation error|ValueError|KeyError|File \""
)


class World:
    """One server and one sandbox for all, and a folder for each."""

    def __init__(self, poller: Poller, empty: Database, older: Database, reader: str) -> None:
        self.poller, self.empty, self.older, self.reader = poller, empty, older, reader
        self.folder = Path()
        self.variables: dict[str, str] = {}
        self.stack = ExitStack()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest) -> Iterator[World]:
    server = all_servers(request.config).get(RUNNING[0])
    login = f"mistaken_{os.getpid()}"
    with (
        server.database() as good,
        server.empty_database() as empty,
        server.database() as older,
        small_sandbox() as sandbox,
    ):
        with older.connect(autocommit=True) as conn:
            conn.execute("drop function tds.explain_record(text, text, text) cascade")
            conn.execute(
                """drop function tds.plan_entities(text);
                   create function tds.plan_entities(organization_id text) returns setof text language plpgsql as $$
                   begin
                       raise disk_full using message = 'could not extend file';
                   end $$"""
            )
            conn.execute(f"create role {login} login password '{SECRET}' in role tds_reader")
        yield World(Poller(sandbox, good), empty, older, good.dsn(user=login, password=SECRET))
        with older.connect(autocommit=True) as conn:
            conn.execute(f"drop role {login}")


@pytest.fixture
def world(shared: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in [*os.environ]:
        if name.startswith(("TDS_", "ZOHO_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(retry, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr("tds_cli.serve.log_as_json", lambda: None)
    monkeypatch.chdir(tmp_path)
    shared.folder = tmp_path
    shared.variables = {
        "TDS_DATABASE_URL": shared.poller.database.conninfo,
        "TDS_DATA_DIR": str(tmp_path / "data"),
        "ZOHO_MINUTE_SECONDS": "0.1",
        **shared.poller.sandbox.environment,
    }
    oauth = shared.poller.sandbox.sandbox.oauth
    with shared.stack:
        yield shared
    oauth.lacking, oauth.api_domain = frozenset(), ""
    with shared.poller.database.connect(autocommit=True) as conn:
        conn.execute("delete from tds.api_refusal")


@dataclass(frozen=True)
class Mistake:
    """What is typed, what is set otherwise, and what is told."""

    name: str
    arguments: str
    told: str
    next: str
    code: int = 1
    set: dict[str, str | None] = field(default_factory=dict)
    made: Callable[[World], None] = lambda _: None


def database(which: str) -> Callable[[World], None]:
    """Another database than the good one."""

    def make(world: World) -> None:
        found = getattr(world, which)
        world.variables["TDS_DATABASE_URL"] = found if isinstance(found, str) else found.conninfo

    return make


def file(text: str, name: str = "tds.env") -> Callable[[World], None]:
    """A file in the folder."""

    def make(world: World) -> None:
        (world.folder / name).write_text(text)

    return make


def no_text(world: World) -> None:
    """A file that is no text."""
    (world.folder / "tds.bin").write_bytes(b"\xff\xfe\0")


def taken(world: World) -> None:
    """A port that somebody listens on."""
    listener = world.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    world.variables["PORT"] = str(listener.getsockname()[1])


def forget_token(world: World) -> None:
    """So that another one is asked for."""
    with world.poller.database.connect(autocommit=True) as conn:
        conn.execute("delete from tds.api_token")


def lacking(world: World) -> None:
    """Tokens without a scope."""
    world.poller.sandbox.sandbox.oauth.lacking = frozenset({"bills.READ"})
    forget_token(world)


def without(scope: str) -> Callable[[World], None]:
    """Tokens without another scope."""

    def make(world: World) -> None:
        world.poller.sandbox.sandbox.oauth.lacking = frozenset({scope})
        forget_token(world)

    return make


def dead_letter(world: World) -> None:
    """One letter, of the reason ZB101, and a row of its own for each test."""
    world.variables["TDS_DATABASE_URL"] = world.poller.database.conninfo
    with world.poller.database.connect(autocommit=True) as conn:
        conn.execute(
            "insert into tds.dead_letter (inbox_id, received_at, entity, organization_id, zoho_id, observed_at, path, reason, "
            "error_code, attempts, dead_at) values (1, now(), 'bills', '1', '1', now(), '$.total', 'x', 'ZB101', 1, now()) "
            "on conflict do nothing"
        )


def lives_elsewhere(world: World) -> None:
    """An organisation of another data centre."""
    world.poller.sandbox.sandbox.oauth.api_domain = "https://www.zohoapis.eu"
    forget_token(world)


def base(path: str) -> Callable[[World], None]:
    """An API base that is nearly right."""

    def make(world: World) -> None:
        world.variables["ZOHO_API_BASE"] += path

    return make


def accounts(path: str) -> Callable[[World], None]:
    """An accounts server that is none."""

    def make(world: World) -> None:
        world.variables["ZOHO_ACCOUNTS_BASE"] += path
        forget_token(world)

    return make


def up_already(world: World) -> None:
    world.stack.enter_context(alone(Path(world.variables["TDS_DATA_DIR"])))


NO_URL: dict[str, str | None] = {"TDS_DATABASE_URL": None}
MISTAKES = [
    Mistake("misspelt command", "statsu", "Did you mean: tds status?", "Try 'tds --help'", 2),
    Mistake("misspelt option", "status --jsn", "No such option", "Try 'tds status --help'", 2),
    Mistake("no entity", "pull", "Missing argument", "Try 'tds pull --help'", 2),
    Mistake("unknown entity", "pull sheep", "sheep", "select entity from tds.entity"),
    Mistake("runs of an unknown entity", "runs --entity sheep", "sheep", "select entity from tds.entity"),
    Mistake("letters of an unknown entity", "dead list --entity sheep", "sheep", "select entity from tds.entity"),
    Mistake(
        "an unknown entity told again", "dead replay --entity sheep", "sheep", "select entity from tds.entity"
    ),
    Mistake("unknown entity planned", "plan sheep", "Unknown: sheep.", "Next: tds plan ENTITY"),
    Mistake("unknown dead letter", "dead show 999999", "There is no dead letter 999999.", "See: tds dead list"),
    Mistake("nothing set", "plan", "ZOHO_CLIENT_ID is not set.", "Next: tds connect", set=dict.fromkeys(
        ("ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN", "ZOHO_ORGANIZATION_ID"))),
    Mistake("set to nothing", "plan", "ZOHO_CLIENT_SECRET is not set.", "Next: tds connect", set={"ZOHO_CLIENT_SECRET": ""}),
    Mistake("unknown data centre", "plan", "ZOHO_DC must be one of com, eu", "Next: tds doctor", set={"ZOHO_DC": "mars"}),
    Mistake("base in the clear", "plan", "ZOHO_API_BASE must begin with https://", "Next: tds doctor",
            set={"ZOHO_API_BASE": "http://books.example.com"}),
    Mistake("zero calls", "plan", "ZOHO_CALLS_PER_MINUTE must be greater than 0.", "Next: tds doctor",
            set={"ZOHO_CALLS_PER_MINUTE": "0"}),
    Mistake("calls in words", "plan", "ZOHO_CALLS_PER_MINUTE must be a whole number.", "Next: tds doctor",
            set={"ZOHO_CALLS_PER_MINUTE": SECRET}),
    Mistake("negative wait", "plan", "ZOHO_LONGEST_WAIT must be at least 0.", "Next: tds doctor", set={"ZOHO_LONGEST_WAIT": "-1"}),
    Mistake("misspelt webhook variable", "serve", "one is ZOHO_WEBHOOK_SECRET", "Next: tds doctor",
            set={"ZOHO_WEBHOOK_SECERT": SECRET}),
    Mistake("secrets that are no JSON", "serve", "ZOHO_WEBHOOK_SECRETS must be one JSON object", "Next: tds doctor",
            set={"ZOHO_WEBHOOK_SECRETS": SECRET}),
    Mistake("size in words", "serve", "TDS_MAX_BODY_BYTES must be a whole number.", "Next: tds doctor",
            set={"TDS_MAX_BODY_BYTES": "big"}),
    Mistake("open to the world", "serve --host 0.0.0.0 --port 0", "Without a webhook secret", "Next: tds connect"),
    Mistake("guessable secret", "serve --host 0.0.0.0 --port 0", "Too short for whoever reaches", "Next: tds webhooks",
            set={"ZOHO_WEBHOOK_SECRET": "short"}),
    Mistake("port taken", "serve --port $PORT", "Address already in use", "Next: tds serve --port 0", made=taken,
            set={"ZOHO_WEBHOOK_SECRET": SECRET * 2}),
    Mistake("file of settings missing", "status", "There is no file", "Next: tds connect", set={"TDS_ENV_FILE": "/no/such.env"}),
    Mistake("line without a name", "status", "Line 2 of", "Next: mend it", made=file(f"ZOHO_DC=eu\n{SECRET}\n")),
    Mistake("foreign variable", "status", "sets PATH, which is no setting", "Next: take the line out", made=file("PATH=/x\n")),
    Mistake("URL that is none", "status", "TDS_DATABASE_URL is neither a URL nor", "tds doctor", set={"TDS_DATABASE_URL": SECRET}),
    Mistake("database away", "status", "The database cannot be reached", "Next: tds doctor", set={"TDS_DATABASE_URL": NOBODY}),
    Mistake("database away, said by the doctor", "doctor", "Connection refused", "next: start that server",
            set={"TDS_DATABASE_URL": NOBODY}),
    Mistake("no schema", "status", "TDS is not wholly in this database.", "Next: tds db upgrade", made=database("empty")),
    Mistake("no schema, to plan", "plan", "TDS is not wholly in this database.", "Next: tds db upgrade", made=database("empty")),
    Mistake("no schema, to poll", "poll --once", "TDS is not wholly in this database.", "Next: tds db upgrade", made=database("empty")),
    Mistake("older database", "explain products 1", "not the one that this program knows", "Next: tds db status", made=database("older")),
    Mistake("login of another program", "keys create x", "This login may not do that.", "Next: tds db roles", made=database("reader")),
    Mistake("lock timeout in words", "db upgrade", "invalid value", "Next: tds doctor", set={"TDS_LOCK_TIMEOUT": "banana"}),
    Mistake("server that is not ours", "db stop", "a server that TDS does not run", "Next: unset TDS_DATABASE_URL"),
    Mistake("directory that is a file", "db start", "cannot be used: ", "Next: ls -ld", made=file("x", "data"), set=NO_URL),
    Mistake("directory below a file", "db start", "cannot be used: Not a directory", "Next: ls -ld", made=file("x", "data"),
            set={"TDS_DATABASE_URL": None, "TDS_DATA_DIR": "data/below"}),
    Mistake("up twice", "up", "tds up runs already on", "Next: tds status", made=up_already),
    Mistake("another host", "psql -h elsewhere", "tds psql opens the server of TDS", "Next: psql itself"),
    Mistake("another host, shortened", "psql --ho=elsewhere -c x", "names a host", "Next: psql itself"),
    Mistake("another server as a string", "psql host=elsewhere", "names another", "Next: psql itself"),
    Mistake("psql without such an option", "psql --nope", "option --nope not recognized", "Next: tds psql --help"),
    Mistake("wrong client", "plan", "Zoho does not know this client.", "Next: tds connect", set={"ZOHO_CLIENT_ID": "1000.X"}),
    Mistake("wrong secret", "plan", "Zoho does not accept the client secret.", "Next: tds connect", set={"ZOHO_CLIENT_SECRET": SECRET}),
    Mistake("revoked", "plan", "Zoho no longer accepts the refresh token", "Next: tds connect", set={"ZOHO_REFRESH_TOKEN": SECRET}),
    Mistake("wrong organisation", "plan", "6041", "Next: tds connect", set={"ZOHO_ORGANIZATION_ID": "60000000000"}),
    Mistake("wrong organisation, one list", "plan invoices", "6041", "Next: tds connect", set={"ZOHO_ORGANIZATION_ID": "60000000000"}),
    Mistake("organisation that is no number", "plan", "4029", "Next: tds connect", set={"ZOHO_ORGANIZATION_ID": "my company"}),
    Mistake("missing scope", "doctor", "the refresh token lacks ZohoBooks.bills.READ", "next: tds connect", made=lacking),
    Mistake("wrong data centre", "doctor", "the organisation lives at https://www.zohoapis.eu", "next: set ZOHO_DC=eu",
            made=lives_elsewhere),
    Mistake("base with a path", "verify products", "Invalid URL Passed", "Next: tds doctor", made=base("/books/v3")),
    Mistake("base where nobody is", "verify products", "4 times in a row", "Next: the same command again",
            set={"ZOHO_API_BASE": "http://127.0.0.1:1"}),
    Mistake("accounts server that is none", "plan", "Zoho refuses a token: no access_token in the answer", "Next: tds doctor",
            made=accounts("/elsewhere")),
    Mistake("server's disk full", "plan", "The disk of the database server is full", "Next: the same command",
            made=database("older")),
    Mistake("day in words", "pull invoices --since yesterday", "must be a date (2026-01-31)", "Next: tds pull --help"),
    Mistake("month that does not come", "reconcile --month 2999-01", "has not come yet", "Next: tds reconcile --help"),
    Mistake("unknown entity compared", "verify invocies", "Unknown: invocies.", "Next: tds verify --help"),
    Mistake("unknown run", "undo 99999", "99999", "Next: tds undo --help"),
    Mistake("unknown dead letter replayed", "dead replay 424242", "424242", "Next: tds dead --help"),
    Mistake("unknown alert", "alerts ack 999", "999", "Next: tds alerts --help"),
    Mistake("time in words", "alerts mute slots --for soon", "soon", "Next: tds alerts --help"),
    Mistake("day that there is not", "alerts mute slots --until 2026-02-31", "2026-02-31", "Next: tds alerts --help"),
    Mistake("time without end", "alerts mute slots --for 99999999999years", "out of range", "Next: tds alerts --help"),
    Mistake("muted alert of twenty digits", "alerts mute 99999999999999999999 --for 2h", "is not in the range",
            "Try 'tds alerts mute --help'", 2),
    Mistake("unknown key", "keys revoke nobody", "nobody", "Next: tds keys --help"),
    Mistake("unknown job", "jobs run helth", "helth", "Next: tds jobs --help"),
    Mistake("unknown organisation", "org pause 999", "999", "Next: tds org --help"),
    Mistake("clock in words", "backups schedule copies --at noon", "noon", "Next: tds backups --help"),
    Mistake("byte of nothing in the file", "status", "Line 1 of", "Next: mend it", made=file("ZOHO_DC=e\0u\n")),
    Mistake("unknown kind of alert", "alerts list --kind slotz", "slotz", "Next: tds alerts --help"),
    Mistake("unknown kind of alert, unmuted", "alerts unmute slotz", "slotz", "Next: tds alerts --help"),
    Mistake("reason that no letter has", "dead replay --entity bills --reason-code ZB999", "there are ZB101",
            "Next: tds dead list --entity bills", made=dead_letter),
    Mistake("reason that no letter has, dry", "dead replay --entity bills --reason-code ZB999 --dry-run", "there are ZB101",
            "Next: tds dead list --entity bills", made=dead_letter),
    Mistake("record of an unknown organisation", "explain products 1 --organization 99", "there are ", "Next: tds explain --help"),
    Mistake("reader of an unknown organisation", "db roles --reader r --org 99", "there are ", "Next: tds db --help"),
    Mistake("unknown entity confirmed", "deletions confirm sheep", "sheep", "select entity from tds.entity"),
    Mistake("unknown queue", "process sheep", "sheep", "Next: tds process --help"),
    Mistake("unknown entity assumed", "plan --assume sheep=5", "Unknown: sheep.", "Next: tds plan"),
    Mistake("unknown organisation asked", "pull products --org 99", "There is no organisation 99; there are ", "Next: tds org list"),
    Mistake("id without the depth that reads it", "verify products --id 5", "--id needs --depth details.", "Try 'tds verify --help'", 2),
    Mistake("id that nobody knows", "verify products --depth details --id 5", "Neither Zoho nor the mirror knows 5 of products.",
            "Next: see the id"),
    Mistake("misspelt variable", "process sheep", "TDS_DATABSE_URL is no setting of TDS; did you mean TDS_DATABASE_URL?",
            "Next: tds doctor", set={"TDS_DATABSE_URL": SECRET}),
    Mistake("misspelt variable in the file", "process sheep",
            "ZOHO_ORGANISATION_ID is no setting of TDS; did you mean ZOHO_ORGANIZATION_ID?", "Next: tds doctor",
            made=file(f"ZOHO_ORGANISATION_ID={SECRET}\n")),
    Mistake("misspelt variable, said by the doctor", "doctor", "TDS_WORKERS is no setting of TDS.", "next: mend or take out",
            set={"TDS_WORKERS": "4"}),
    Mistake("webhooks without leave to make them", "webhooks create --url https://tds.example.com",
            "The refresh token may not make webhooks", "Next: tds connect --webhooks", made=without("settings.CREATE"),
            set={"ZOHO_WEBHOOK_SECRET": "SecretOf16Letter"}),
    Mistake("webhooks without leave to see them", "webhooks check --url https://tds.example.com", "HTTP 401",
            "Next: tds doctor, which names the scope", made=without("settings.READ"), set={"ZOHO_WEBHOOK_SECRET": "SecretOf16Letter"}),
    Mistake("key whose name is a novel", f"keys create {'x' * 101}", "no name for a key", "Next: tds keys --help"),
    Mistake("run of twenty digits", "undo 99999999999999999999", "is not in the range", "Try 'tds undo --help'", 2),
    Mistake("letter of twenty digits", "dead replay 99999999999999999999", "is not in the range", "Try 'tds dead replay --help'", 2),
    Mistake("alert of twenty digits", "alerts ack 99999999999999999999", "is not in the range", "Try 'tds alerts ack --help'", 2),
    Mistake("more than can be counted", "verify products --depth details --sample 99999999999", "is not in the range",
            "Try 'tds verify --help'", 2),
    Mistake("more rows than can be counted", "runs --limit 99999999999", "is not in the range", "Try 'tds runs --help'", 2),
    Mistake("workers by the thousand", "work --workers 2000", "is not in the range", "Try 'tds work --help'", 2),
    Mistake("argument in another encoding", "explain products caf\udce9", r"Argument 3, caf\udce9, is no text in UTF-8.",
            "Try 'tds --help'", 2),
    Mistake("argument of a variable that is not set", "backup $NOTHING", "Argument 2, '', is empty", "Try 'tds --help'", 2,
            set={"NOTHING": ""}),
    Mistake("option of a variable that is not set", "pull products --since=$NOTHING", "Argument 3, --since=, is empty",
            "Try 'tds --help'", 2, set={"NOTHING": ""}),
    Mistake("secret in another encoding", "plan", "ZOHO_CLIENT_SECRET is no text in UTF-8.", "Next: set ZOHO_CLIENT_SECRET",
            set={"ZOHO_CLIENT_SECRET": f"{SECRET}\udce9"}),
    Mistake("address in another encoding", "status", "TDS_DATABASE_URL is no text in UTF-8.", "Next: set TDS_DATABASE_URL",
            set={"TDS_DATABASE_URL": NOBODY.replace("@", "\udce9@")}),
    Mistake("file of the console that is no text", "connect --self-client tds.bin", "no text in UTF-8", "Next: tds connect --help",
            made=no_text),
]  # fmt: skip


def test_there_are_forty() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 40


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake(world: World, mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake.made(world)
    for name, value in (world.variables | mistake.set).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    arguments = [os.path.expandvars(part) for part in mistake.arguments.split()]
    result = invoke(arguments)
    said = result.output
    assert mistake.told in said
    assert mistake.next in said
    assert result.exit_code == mistake.code
    assert NEXT.search(said)
    assert not FOREIGN.search(said)
    assert SECRET not in said.replace(mistake.arguments, "")


def invoke(arguments: list[str]) -> Result:
    """Runs a command in this process, whose logging stays as it is."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        return CliRunner().invoke(main, arguments, prog_name="tds")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)


def test_the_receivers_last_words_are_shown(world: World) -> None:
    taken(world)
    port = world.variables["PORT"]
    done = subprocess.run(
        [*TDS, "up", "--port", port, "--no-poll", "--workers", "1"],
        env=environment(**world.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in done.stderr
    assert "Next: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_output_that_goes_nowhere(world: World) -> None:
    variables = environment(**world.variables)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*TDS, "dead", "list"], env=variables, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Next: " in done.stderr
    assert "Traceback" not in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*TDS, "jobs"], env=variables, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["dead list", "runs --json", "plan taxes", "alerts list"])
def test_what_is_closed_is_nowhere(world: World, command: str, closed: str) -> None:
    variables = environment(**world.variables)
    line = ["sh", "-c", f'exec "$@" {closed}', "sh", *TDS, *command.split()]
    open_ones = [*TDS, *command.split()]
    done = [
        subprocess.run(each, env=variables, capture_output=True, text=True, check=False)
        for each in (line, open_ones)
    ]
    assert done[0].returncode == done[1].returncode
    assert "fault of TDS" not in done[0].stderr


def test_help_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TDS_DATABASE_URL", raising=False)
    monkeypatch.setenv("TDS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TDS_ENV_FILE", str(tmp_path / "no.env"))
    names = [name for name, command in commands() if not isinstance(command, click.Group)]
    assert len(names) > 30
    for name in names:
        assert invoke([*name.split(), "--help"]).exit_code == 0, name
    for arguments in (["psql", "-?"], ["psql", "--version"], ["psql", "-X", "--help=variables"]):
        assert invoke(arguments).exit_code == 0
    assert list(tmp_path.iterdir()) == []
