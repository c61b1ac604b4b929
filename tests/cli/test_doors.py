"""What stands once for all commands: exit codes, --json, run states, names of sessions."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tds_cli.exits import EXIT_CODES
from tds_cli.main import COMMANDS, main
from tds_db.connect import application_name, connect, connect_for_rows, pool
from tds_db.runs import RunState
from tests.db.servers import Database
from tests.journeys.programs import TDS, environment

CLI = Path(__file__).parents[2] / "cli/tds_cli"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand, by what is typed."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", command.commands[inner]) for inner in command.commands)


def test_run_states_are_those_of_the_table(database: Database) -> None:
    with database.connect() as conn:
        [row] = conn.execute(
            """select pg_get_constraintdef(oid) from pg_constraint
                where conrelid = 'tds.run'::regclass and conname = 'state_is_known'"""
        ).fetchall()
    assert set(re.findall(r"'(\w+)'", row[0])) == {state.value for state in RunState}


@pytest.mark.parametrize("state", RunState)
def test_runs_are_found_by_any_state(
    database: Database, monkeypatch: pytest.MonkeyPatch, state: RunState
) -> None:
    monkeypatch.setenv("TDS_DATABASE_URL", database.conninfo)
    done = CliRunner().invoke(main, ["runs", "--state", state.value, "--json"])
    assert (done.exit_code, done.stdout) == (0, "[]\n")


def test_json_is_one_option() -> None:
    told = {
        option.help
        for name, command in commands()
        if not name.startswith("sandbox")
        for option in command.params
        if isinstance(option, click.Option) and "--json" in option.opts
    }
    assert told == {"Print JSON."}


def test_exit_codes_are_named_in_one_file() -> None:
    numbers = {
        f"{path.name}: {ast.unparse(node)}"
        for path in CLI.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "sys.exit"
        and any(isinstance(arg, ast.Constant) for arg in node.args)
    }
    assert numbers == set()
    shown = CliRunner().invoke(main, ["--help"]).stdout
    for line in EXIT_CODES.splitlines()[1:]:
        assert line.strip() in shown


def test_sessions_have_names(database: Database) -> None:
    with (
        connect("one", database.conninfo) as one,
        connect_for_rows("two", database.conninfo),
        pool("three", database.conninfo) as three,
        three.connection(),
    ):
        names = {
            name
            for (name,) in one.execute(
                "select application_name from pg_stat_activity where application_name like 'tds/%'"
            )
        }
    assert {application_name(component) for component in ("one", "two", "three")} <= names


def test_a_command_is_seen_under_its_name(database: Database) -> None:
    """Whoever holds a lock that a command waits for can see who waits."""
    variables = environment(TDS_DATABASE_URL=database.conninfo)
    with database.connect() as blocker:
        blocker.execute("lock table tds.api_key in access exclusive mode")
        with subprocess.Popen([*TDS, "keys", "list"], env=variables, stdout=subprocess.DEVNULL) as process:
            query = """select application_name from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'"""
            with database.connect(autocommit=True) as watcher:
                while not (waiting := watcher.execute(query).fetchall()):
                    assert process.poll() is None
            blocker.rollback()
            assert process.wait() == 0
    assert [name.split("/")[:2] for (name,) in waiting] == [["tds", "keys"]]
