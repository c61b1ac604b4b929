"""A worker process of the measurements: drains until its standard input ends and nothing is left to do.

It looks again after 10 ms where `db.worker` waits for a notification or a second; otherwise it is the same.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter

from benchmarks.memory import peak_bytes
from benchmarks.mirror import is_closed
from tds_db.connect import connect
from tds_db.worker import drain

PAUSE_SECONDS = 0.01


def main() -> None:
    """Says `ready`, works, and ends with a line of JSON: what it did and the memory it took."""
    total: Counter[str] = Counter()
    with connect("worker", os.environ["BENCH_DSN"], autocommit=True) as conn:
        drain(conn)
        print("ready", flush=True)
        while True:
            outcome = drain(conn)
            total.update(outcome)
            if not outcome["claimed"]:
                if is_closed(sys.stdin.fileno()):
                    break
                time.sleep(PAUSE_SECONDS)
        print(json.dumps({"outcome": total, "peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
