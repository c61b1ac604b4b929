"""`tds jobs`: what runs by the clock."""

import sys

import click

from tds_cli.exits import FAILED, INCOMPLETE
from tds_cli.options import as_json
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect, connect_for_rows
from tds_db.errors import notice_text
from tds_db.upgrade import install_jobs

JOBS = """
    select job, schedule, enabled, state, runner, next_due_at, overdue, last_started_at, last_duration,
           last_success_at, last_error_at, last_error
      from tds_jobs order by job"""


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def jobs(context: click.Context, as_json: bool) -> None:
    """Shows the jobs: how the last runs went, when the next are due. Exit code 4: one is overdue."""
    if context.invoked_subcommand is not None:
        return
    with connect_for_rows("jobs") as connection:
        rows = connection.execute(JOBS).fetchall()
    if as_json:
        print_json(rows)
    else:
        print_table("Jobs", rows)
    if any(row["overdue"] for row in rows):
        echo("Nobody runs what is overdue. Next: tds work, or tds jobs run NAME", err=True)
        sys.exit(INCOMPLETE)


@jobs.command("run")
@click.argument("name")
def run(name: str) -> None:
    """Runs the job NAME now, due or not, with the rights of the connection. Exit code 1: it failed."""
    with connect_for_rows("jobs") as connection:
        connection.add_notice_handler(lambda notice: echo(notice_text(notice), err=True))
        row = connection.execute("call tds.run_job(%s, false, 'by hand', null)", [name]).fetchone()
    assert row is not None
    echo(row["outcome"])
    if row["outcome"] == "failed":
        sys.exit(FAILED)


@jobs.command("install")
@as_json
def install(as_json: bool) -> None:
    """Has pg_cron run the jobs as they stand now; needed after tds.job was changed. An upgrade does it too.

    Where an administrator has to do it, the statements are printed, each for the database that it names.
    """
    with connect("jobs") as connection:
        done = install_jobs(connection)
    if as_json:
        print_json([vars(job) for job in done])
        return
    for job in done:
        echo(f"-- {job.job}: {job.action}")
        if job.statement:
            echo(job.statement)
    if not done:
        echo("This server has no pg_cron: the workers run the jobs.", err=True)
