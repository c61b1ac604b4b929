"""dlt, as its documentation shows it (default) or in its fastest form (arrow tables as Parquet over ADBC).

Runs with the Python of dlt's own environment: it imports nothing of ours. The first load appends, which is
the cheapest it can do; the second merges, because a mirror must not hold a record twice.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt

NUMBERS = (
    "rate",
    "purchase_rate",
    "reorder_level",
    "tax_percentage",
    "stock_on_hand",
    "available_stock",
    "actual_available_stock",
)


def pages(path: str) -> Iterator[list[dict[str, Any]]]:
    """The records of each page."""
    with Path(path).open("rb") as file:
        for line in file:
            yield json.loads(line)["items"]


def tables(path: str) -> Iterator[Any]:
    """Each page as an arrow table with one type a column, as arrow asks for."""
    import pyarrow as pa  # noqa: PLC0415 (only this form needs it)

    schema = None
    for records in pages(path):
        for record in records:
            record["tags"] = json.dumps(record["tags"])
            for name in NUMBERS:
                value = record.get(name)
                record[name] = None if value in {"", None} else float(value)
        if schema is None:
            keys = dict.fromkeys(key for record in records for key in record)
            kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
            samples = {key: next((r[key] for r in records if r.get(key) is not None), "") for key in keys}
            schema = pa.schema([(key, kinds.get(type(samples[key]), pa.string())) for key in keys])
        yield pa.Table.from_pylist(records, schema=schema)


def main(form: str, path: str, load: int) -> None:
    """Loads the file once.

    Args:
        form: `default` or `fast`.
        path: the pages.
        load: 1 appends, 2 merges.
    """
    began = time.perf_counter()
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=os.environ["BENCH_DIR"],
        destination=dlt.destinations.postgres(os.environ["BENCH_URL"]),
        dataset_name="zoho_dlt",
    )
    disposition: Any = "append" if load == 1 else {"disposition": "merge", "strategy": "upsert"}
    source: Any = pages(path) if form == "default" else tables(path)
    told = pipeline.run(
        source,
        table_name="items",
        primary_key="item_id",
        write_disposition=disposition,
        loader_file_format=None if form == "default" else "parquet",
    )
    told.raise_on_failed_jobs()
    print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
