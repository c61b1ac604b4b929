"""Every form in which a body may come ends in the same row."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest

from tds_receiver.bodies import media_type
from tests.db.servers import Database
from tests.receiver.asgi import Endpoint
from tests.receiver.conftest import Receive
from tests.receiver.test_webhooks import PRODUCTS, events

RECORD = {"item_id": "4030413020000029001", "name": "Café Ω é", "rate": "12.5"}
LATIN = {**RECORD, "name": "Café é"}
TEXT = json.dumps({"item": RECORD}, ensure_ascii=False)
NUMERIC = json.dumps(
    {"organization_id": 748139205, "item": {**RECORD, "item_id": 4030413020000029001, "rate": 12.5}}
)
FORM = "application/x-www-form-urlencoded"


def multipart(parts: dict[str, str], charset: str = "utf-8") -> bytes:
    """A form of text fields and, as Zoho may attach it, the document as PDF."""
    lines = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    ]
    pdf = '--b\r\nContent-Disposition: form-data; name="pdf"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n%PDF'
    return ("".join(lines) + pdf + "\r\n--b--\r\n").encode(charset)


# Name: (Content-Type, body, further headers, the name that the row must have).
FORMS: dict[str, tuple[str, bytes, dict[str, str], str]] = {
    "default JSON": ("application/json", TEXT.encode(), {}, "Café Ω é"),
    "raw template, numeric ids": ("text/plain", NUMERIC.encode(), {}, "Café Ω é"),
    "pairs": (FORM, "&".join(f"{k}={quote(v)}" for k, v in RECORD.items()).encode(), {}, "Café Ω é"),
    "JSONString": (FORM, f"a=b&JSONString={quote(TEXT)}".encode(), {}, "Café Ω é"),
    "multipart pairs": ("multipart/form-data; boundary=b", multipart(RECORD), {}, "Café Ω é"),
    "multipart JSONString": (
        'multipart/form-data; boundary="b"',
        multipart({"JSONString": TEXT}),
        {},
        "Café Ω é",
    ),
    "gzip": ("application/json", gzip.compress(TEXT.encode()), {"Content-Encoding": "gzip"}, "Café Ω é"),
    "UTF-16": ("application/json; charset=utf-16", TEXT.encode("utf-16"), {}, "Café Ω é"),
    "Latin-1": (
        'application/json; Charset="ISO-8859-1"',
        json.dumps({"item": LATIN}, ensure_ascii=False).encode("latin-1"),
        {},
        "Café é",
    ),
    "Latin-1 pairs": (
        f"{FORM}; charset=windows-1252",
        "&".join(f"{k}={quote(v.encode('cp1252'))}" for k, v in LATIN.items()).encode(),
        {},
        "Café é",
    ),
    "Latin-1 multipart": (
        "multipart/form-data; charset=latin1; boundary=b",
        multipart({"JSONString": json.dumps({"item": LATIN}, ensure_ascii=False)}, "latin-1"),
        {},
        "Café é",
    ),
}


def test_every_form_ends_in_the_same_row(receiver: Receive, database: Database) -> None:
    client = receiver()
    with database.connect(autocommit=True) as conn:
        for name, (kind, body, headers, expected) in FORMS.items():
            answer = client.post(PRODUCTS, content=body, headers={"Content-Type": kind} | headers)
            assert (answer.status_code, answer.json()["status"]) == (202, "queued"), name
            conn.execute("call tds.process_batch()")
            rows = conn.execute("select zoho_item_id, name, unit_price from zoho.products").fetchall()
            assert [(i, n, float(r)) for i, n, r in rows] == [("4030413020000029001", expected, 12.5)], name
            assert events(database)[0]["record_id"] == RECORD["item_id"], name
            conn.execute("truncate zoho.products, tds.inbox cascade")
            assert conn.execute("select count(*) from tds.dead_letter").fetchone() == (0,), name


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json; charset=utf-8", b'{"a": "\xff"}'),
        ("application/json; charset=us-ascii", b'{"a": "\xe9"}'),
        ("application/json; charset=shift_jis", b'{"a": "\xff\xff"}'),
        ("application/json; charset=utf-16", b"{}x"),
        ("application/json; charset=klingon", b'{"a": "\xe9"}'),
        ("application/json; charset=unicode_escape", b'{"a": "\\u0041"}'),
        ("application/json; charset=", b"{}"),
        ("application/json; charset=\x00", b"{}"),
        (f"{FORM}; charset=shift_jis", b"a=%ff%ff"),
        ("multipart/form-data", b"--b--"),
        (f"multipart/form-data; boundary={'b' * 300}", b"--b--"),
        ("multipart/form-data; boundary=b", b"hello"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", multipart({})),
    ],
)
def test_what_cannot_be_unwrapped_is_kept_as_it_came(kind: str, body: bytes) -> None:
    endpoint = Endpoint({})
    assert endpoint.send(body, {"Content-Type": kind}) == 202
    assert [event.body for event in endpoint.inbox.events] == [body]


def test_utf8_is_never_touched() -> None:
    for kind in (
        "application/json",
        "application/json; charset=UTF-8",
        f"{FORM}; charset=utf8",
        "",
        ";",
        "x; charset",
    ):
        assert media_type(kind)[1] is None


def test_a_deletion_is_a_hint_until_a_detail_is_answered_404(receiver: Receive, database: Database) -> None:
    client = receiver()
    with database.connect(autocommit=True) as conn:

        def one(query: str) -> Any:
            conn.execute("call tds.process_batch()")
            return conn.execute(query).fetchone()

        deleted = "select deleted_at is not null from zoho.products"
        for number, request in enumerate(
            [("DELETE", PRODUCTS), ("POST", PRODUCTS + "?event=delete"), ("PUT", PRODUCTS)]
        ):
            record = {"item": {**RECORD, "revision": number}}
            assert client.request(*request, json=record).status_code == 202
            if number == 0:
                assert client.post(PRODUCTS, json=record).status_code == 202
            assert one(deleted) == (False,)
        wanted = "select reason from tds.wanted_detail where zoho_id = '4030413020000029001'"
        assert one(wanted) is not None
        # As the poller tells of a detail's 404. The PUT showed it alive after it was said to be deleted, so one is no proof,
        # and a second one after a pause is.
        answered = """select tds.receive('products', '{"item_id": "4030413020000029001"}', '748139205', 'poller', 'detail', 'delete')"""
        conn.execute(answered)
        assert one(deleted) == (False,)
        assert one(wanted) == ("answered 404 once",)
        conn.execute("update tds.setting set value = '0' where name = 'second_look_seconds'")
        conn.execute(answered)
        # only webhooks ever told of it: it never was
        assert one(deleted) is None
