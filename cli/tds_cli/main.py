"""The `tds` command.

Each subcommand is imported when it is run, so that `tds --help` and a misspelt command answer at once.
"""

import difflib
import importlib
import logging
import os
import re
import signal
import sys
from typing import Any

import click

from tds_cli.exits import EXIT_CODES, FAILED, INTERRUPTED
from tds_cli.terminal import EscapingFormatter, echo, escaped_line, open_streams
from tds_db.processes import PARENT, end_with_parent
from tds_db.variables import is_text

NOTHING = re.compile("(--[a-z-]+=)?")
HELP, HELPS = f"{__name__}.help", ("--help", "-?", "--version")
# Name of the command: where it is, and what it does.
COMMANDS = {
    "connect": ("tds_cli.connect:connect", "Connect with Zoho Books, and write the settings of that."),
    "webhooks": ("tds_cli.webhooks:webhooks", "Show, make and compare the webhooks that Zoho is to have."),
    "up": ("tds_cli.up:up", "Run everything: database, receiver, workers, poller."),
    "org": ("tds_cli.org:org", "Add, list, pause and remove organisations."),
    "db": ("tds_cli.db:db", "Look after the database: upgrade, status, the embedded server."),
    "shard": ("tds_cli.shard:shard", "Spread organisations over several databases, behind a router."),
    "backup": ("tds_cli.backup:backup", "Write all rows into one file, and see that it can be restored."),
    "backups": ("tds_cli.backup:backups", "Have backups made by the clock; list them."),
    "restore": ("tds_cli.backup:restore", "Fill an empty database from a backup."),
    "psql": ("tds_cli.psql:psql", "Open psql on the database of TDS."),
    "health": ("tds_cli.health:health", "Tell how all stands, as monitoring wants it."),
    "top": ("tds_cli.top:top", "Show how all stands, live."),
    "alerts": ("tds_cli.alerts:alerts", "List, acknowledge and mute alerts; try their addresses."),
    "heal": ("tds_cli.health:heal", "Mend what can be mended."),
    "doctor": ("tds_cli.doctor:doctor", "Look at everything that TDS needs, and say what to do next."),
    "plan": ("tds_cli.plan:plan", "Tell the calls, minutes and days of a migration, before it."),
    "migrate": ("tds_cli.migrate:migrate", "Fetch everything from Zoho, going on where it stopped."),
    "pull": ("tds_cli.pull:pull", "Fetch some entities from Zoho, or what has changed in them."),
    "poll": (
        "tds_cli.poll:poll",
        "Do the pulls asked for, and fetch the details wanted.",
    ),
    "keys": ("tds_cli.keys:keys", "Make, list and revoke the API keys of operators."),
    "serve": ("tds_cli.serve:serve", "Take webhooks."),
    "work": ("tds_cli.work:work", "Run workers that process what has come."),
    "process": ("tds_cli.process:process", "Process what has come, once."),
    "status": ("tds_cli.status:status", "Show queues, runs, missing details and dead letters."),
    "runs": ("tds_cli.runs:runs", "Show the pulls so far."),
    "reconcile": ("tds_cli.reconcile:reconcile", "Compare sums with Zoho's own reports."),
    "verify": ("tds_cli.verify:verify", "Compare the mirror with Zoho's lists, record by record."),
    "repair": ("tds_cli.repair:repair", "Read records from Zoho and write them whatever is stored."),
    "explain": ("tds_cli.explain:explain", "Tell what happened to a record."),
    "undo": ("tds_cli.undo:undo", "Take back what a run wrote."),
    "forget": ("tds_cli.forget:forget", "Erase a person's data."),
    "remember": ("tds_cli.forget:remember", "Store a forgotten person's data again."),
    "jobs": ("tds_cli.jobs:jobs", "Show what runs by the clock, and run it by hand."),
    "images": ("tds_cli.images:images", "Fetch the pictures of products."),
    "deletions": ("tds_cli.deletions:deletions", "List, confirm and refuse deletions held back."),
    "dead": ("tds_cli.dead:dead", "List, show and replay dead letters."),
    "sandbox": ("tds_sandbox.cli:sandbox", "Serve a stand-in Zoho Books organisation."),
}


class Commands(click.Group):
    """The subcommands of `COMMANDS`; their errors become one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """See click."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """See click."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """See click; no command is imported for its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def main(self, *args: Any, **named: Any) -> Any:
        """See click."""
        open_streams()
        return super().main(*args, **named)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; what is empty, or sent by a terminal in another encoding than the system's, is named."""
        for number, given in enumerate(args, 1):
            if not is_text(given):
                ctx.fail(f"Argument {number}, {escaped_line(given)}, is no text in UTF-8.")
            if NOTHING.fullmatch(given):
                shown = given or "''"
                ctx.fail(f"Argument {number}, {shown}, is empty: is a variable of the shell not set?")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """See click."""
        ctx.meta[HELP] = any(
            given.startswith(HELPS) for given in ctx.args
        )  # click takes them away before the callback is called
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            echo("Stopped.", err=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            from tds_cli.explanations import explanation  # noqa: PLC0415 - see the module's docstring

            told = explanation(error, f"tds {ctx.invoked_subcommand or ''}".rstrip())
            if told is None:
                logging.getLogger(__name__).info("a fault of ours", exc_info=True)
                kind = type(error).__name__
                told = f"A fault of TDS itself: {kind}.\nNext: the same as tds -v …, and report what it shows"
            echo(f"Error: {told}", err=True)
            sys.exit(FAILED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; one that is misspelt is told what comes near."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := difflib.get_close_matches(args[0], COMMANDS, 1):
                ctx.fail(f"{error.message.rstrip('.')}. Did you mean: tds {near[0]}?")
            raise


@click.group(cls=Commands, epilog=EXIT_CODES)
@click.version_option(package_name="tds-mirror")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done.")
@click.pass_context
def main(ctx: click.Context, verbose: bool) -> None:
    """TDS mirrors a company's Zoho Books into its own PostgreSQL.

    Data goes to stdout, messages to stderr. The database is that of TDS_DATABASE_URL, else the embedded one.
    Settings are environment variables; those that are not set are taken from the file that TDS_ENV_FILE
    names, else from ./tds.env.
    """
    is_started_by_another = PARENT in os.environ
    end_with_parent()
    if not ctx.meta[HELP]:
        from tds_db.envfile import load  # noqa: PLC0415 - see the module's docstring

        load(may_miss=ctx.invoked_subcommand == "connect")
        if not is_started_by_another and ctx.invoked_subcommand != "doctor":
            from tds_db.variables import unknown  # noqa: PLC0415

            for told in unknown(os.environ):
                echo(f"{told} Next: tds doctor", err=True)
    level = logging.INFO if verbose else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(EscapingFormatter("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
