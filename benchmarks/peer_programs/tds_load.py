"""TDS: every page handed to `tds.receive`, each in its own transaction; the workers are other processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.data import ORGANIZATION
from tds_db.connect import connect


def main(path: str) -> None:
    """Stores the pages of the file."""
    print("ready", flush=True)
    with connect("poller", os.environ["BENCH_URL"], autocommit=True) as conn, Path(path).open("rb") as file:
        for line in file:
            conn.execute(
                "select status from tds.receive('products', %b, %s, 'poller', 'list')",
                [line.rstrip(b"\n"), ORGANIZATION],
            )


if __name__ == "__main__":
    main(sys.argv[1])
