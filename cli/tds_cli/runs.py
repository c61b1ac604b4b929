"""`tds runs`: the pulls so far."""

import click
from psycopg.rows import DictRow

from tds_cli.options import COUNT, as_json, must_exist
from tds_cli.output import print_json, print_table
from tds_cli.terminal import echo
from tds_db.connect import connect_for_rows
from tds_db.runs import RunState

# A run that goes on has lasted until its last page: after a stop it lasts no longer.
RUNS = """
    select r.run_id as run, r.organization_id, r.entity, r.state, r.pages, r.records, r.started_at,
           r.finished_at, round(d.seconds, 1)::float8 as seconds,
           round(r.records / nullif(d.seconds, 0), 1)::float8 as records_per_second, r.next_page, r.error
      from tds.run r
     cross join lateral (
           select extract(epoch from coalesce(r.finished_at, r.heartbeat_at) - r.started_at) as seconds) d
     where (%(entity)s::text is null or r.entity = %(entity)s)
       and (%(state)s::text is null or r.state = %(state)s)
     order by r.run_id desc
     limit %(limit)s"""


@click.command()
@click.option("--entity", help="Only of this entity.")
@click.option("--state", type=click.Choice([state.value for state in RunState]), help="Only those.")
@click.option("--limit", type=COUNT, default=20, show_default=True, help="How many.")
@as_json
def runs(entity: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Shows pulls of lists, the newest first: how far they came, how long they took, why they stopped."""
    with connect_for_rows("runs") as connection:
        rows = connection.execute(RUNS, {"entity": entity, "state": state, "limit": limit}).fetchall()
        if entity and not rows:
            must_exist(connection, entity)
    if as_json:
        print_json(rows)
        return
    print_table("Runs", list(map(_shown, rows)))
    if any(row["state"] == RunState.RUNNING for row in rows):
        echo("What is running and stands still goes on with: tds pull ENTITY", err=True)


def _shown(row: DictRow) -> dict[str, object]:
    times = {name: row[name] and f"{row[name]:%Y-%m-%d %H:%M:%S}" for name in ("started_at", "finished_at")}
    return {name: times.get(name, value) for name, value in row.items() if name != "organization_id"}
