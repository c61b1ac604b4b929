"""`tds work`: workers until interrupted."""

import click

from tds_db.worker import run_worker, run_workers


@click.command()
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="How many processes."
)
def work(workers: int) -> None:
    """Runs workers until interrupted: they process events as these come."""
    if workers == 1:
        run_worker()
    else:
        run_workers(workers)
