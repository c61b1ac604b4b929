"""A stand-in for Zoho's item list of any length: pages are made as they are asked for, none is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from benchmarks.data import PER_PAGE

FIRST_ID = 4_030_413_090_000_000_000


class Pages:
    """Pages of 200 rows, the same 200 again and again under new ids.

    Args:
        rows: one page of list rows as JSON texts.
        pages: how many there are.
    """

    def __init__(self, rows: Sequence[str], pages: int) -> None:
        self._rows = [row.split('"', 4)[4] for row in rows]  # after {"item_id":"…"
        self._pages = pages

    def body(self, page: int) -> bytes:
        """The answer for that page, from 1."""
        first = FIRST_ID + page * PER_PAGE
        rows = ",".join([f'{{"item_id":"{first + n}"{row}' for n, row in enumerate(self._rows)])
        more = "true" if page < self._pages else "false"
        context = f'{{"page":{page},"per_page":{PER_PAGE},"has_more_page":{more}}}'
        return f'{{"code":0,"message":"success","items":[{rows}],"page_context":{context}}}'.encode()


@contextmanager
def serving(pages: Pages) -> Iterator[str]:
    """Serves the pages, and tokens, on loopback; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self._answer(pages.body(int(query["page"][0])))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self._answer(json.dumps({"access_token": "bench", "expires_in": 3600}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            pass

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
