"""Nobody who has proved nothing makes the receiver work: heads, forms, gzip, charsets, and in which order they are read."""

from __future__ import annotations

import asyncio
import encodings
import gzip
import random
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tds_receiver import bodies, body, webhook
from tds_receiver.bodies import media_type, multipart_pairs
from tds_receiver.body import MEMBERS, RefusedError, gunzip
from tds_receiver.signature import MAX_PAIRS, url_pairs
from tests.attacks.work import LINEAR, TIMES, growth, most_kept
from tests.receiver.asgi import Endpoint
from tests.receiver.conftest import Receive
from tests.receiver.test_authenticity import SECRET, SIGNATURE, digest
from tests.receiver.test_limits import talk

FORM = "application/x-www-form-urlencoded"
EMPTY = gzip.compress(b"", 9)
FORGED = {SIGNATURE: "00" * 32}
LIMIT = 16 * 2**20


def refused(work: Any, *given: Any) -> None:
    """Does the work, which may be refused."""
    with suppress(RefusedError):
        work(*given)


# ── gzip ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_empty_members_of_gzip_cost_what_they_weigh() -> None:
    assert growth(lambda n: refused(gunzip, EMPTY * n, LIMIT), 10_000, 10_000 * TIMES) < LINEAR
    # as many as are read, with much behind each
    long = [
        EMPTY * (MEMBERS - 1) + gzip.compress(random.Random(1).randbytes(n)) for n in (2**20, TIMES * 2**20)
    ]
    assert growth(lambda each: gunzip(each, LIMIT), *long) < LINEAR
    with pytest.raises(RefusedError, match="more than 100 members"):
        gunzip(EMPTY * (MEMBERS + 1), LIMIT)
    assert gunzip(EMPTY * (MEMBERS - 1) + gzip.compress(b"x"), LIMIT) == b"x"


def test_members_end_anywhere_in_a_slice() -> None:
    rng = random.Random(2)
    for _ in range(50):
        parts = [
            rng.randbytes(rng.choice([0, 1, 50, 65_000, 66_000, 200_000])) for _ in range(rng.randrange(1, 5))
        ]
        assert gunzip(b"".join(gzip.compress(part, 1) for part in parts), LIMIT) == b"".join(parts)
        whole = sum(map(len, parts))
        if whole:
            with pytest.raises(RefusedError, match="larger than"):
                gunzip(b"".join(gzip.compress(part, 1) for part in parts), whole - 1)


def test_nothing_is_decompressed_before_the_signature_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[bytes] = []

    def watched(sent: bytes, encoding: str, limit: int) -> bytes:
        undone.append(sent)
        return body.decompressed(sent, encoding, limit)

    monkeypatch.setattr(webhook, "decompressed", watched)
    endpoint = Endpoint({"webhook_secret": SECRET})
    bomb = gzip.compress(bytes(10**6))
    for kind in ("application/json", FORM, "multipart/form-data; boundary=b"):
        squeezed = {"Content-Encoding": "gzip", "Content-Type": kind}
        assert endpoint.send(bomb, FORGED | squeezed) == 401
        # the signature is over what came
        assert undone == []
        assert endpoint.send(bomb, {SIGNATURE: digest(SECRET, bomb).hex()} | squeezed) == 202
        assert undone.pop()


# ── the head ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_content_type_is_read_in_proportion_to_its_length() -> None:
    for made in (
        'application/json; charset="{}',
        "multipart/form-data{}",
        'x; a="{}',
        "x{}=",
        'x; charset={}"',
    ):
        for piece in (";", '"', ";a", ' ;a="', "\\", "= ", '";"'):
            small, large = (made.format(piece * n) for n in (4000, 4000 * TIMES))
            assert growth(lambda each: refused(media_type, each), small, large) < LINEAR, (made, piece)
    assert Endpoint({}).send(b"{}", {"Content-Type": "x; charset=" + "a" * 1000}) == 431


@pytest.mark.parametrize("length", [70_000, 120_000, 200_000])
def test_a_large_head_in_one_piece_is_refused(receiver: Receive, length: int) -> None:
    client = receiver()
    for head in (
        b"POST /api/zoho/webhooks/products HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * length + b"\r\n",
        b"GET /" + b"a" * length + b" HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * (length // 6),
    ):
        answer, _ = talk(client, head + b"Content-Length: 2\r\n\r\n{}")
        # nothing, where the rest of it crossed the answer
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 "), answer[:100]
    assert client.get("/healthz").status_code == 200
    assert client.get("/healthz", headers={"X-A": "a" * 60_000}).status_code == 200


def test_neither_trailers_nor_requests_in_a_row_are_kept_without_end(receiver: Receive) -> None:
    client = receiver()
    chunked = b"POST /api/zoho/webhooks/products HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    answer, _ = talk(client, chunked + b"a: b\r\n" * 20_000 + b"\r\n")
    assert b" 202 " not in answer
    many = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    answer, _ = talk(client, many)
    assert answer.count(b"HTTP/1.1 200 ") < 20
    few = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 9
    answer, _ = talk(client, few + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 10


def test_no_name_of_a_charset_is_remembered() -> None:
    endpoint = Endpoint({})
    names = [f"klingon-{number}" for number in range(200)]
    before = len(encodings._cache)
    for name in names:
        assert endpoint.send(b'{"a": "\xe9"}', {"Content-Type": f"x; charset={name}"}) == 202
    assert len(encodings._cache) - before < 20


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    st.lists(
        st.sampled_from(
            [b"a", b"&", b"=", b"%", b"+", b"4", b"1", b"\xe9", b"\r", b"\n", b" ", b"%41", b"%\n", b";"]
        )
    )
)
def test_pairs_are_what_the_standard_library_reads(pieces: list[bytes]) -> None:
    encoded = b"".join(pieces)
    read = parse_qsl(encoded.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    assert url_pairs(encoded) == [(key.encode("latin-1"), value.encode("latin-1")) for key, value in read]


def test_an_escape_over_the_end_of_a_slice() -> None:
    for filler in range(body.SLICE - 5, body.SLICE + 2):
        for escape in (b"%41%42%", b"%4%41%%41", b"=%3d="):
            [(_, value)] = url_pairs(b"k=" + b"a" * filler + escape + b"z" * body.SLICE + escape)
            [(_, read)] = parse_qsl(
                f"k={'a' * filler}{escape.decode()}{'z' * body.SLICE}{escape.decode()}", True
            )
            assert value == read.encode()


@pytest.mark.parametrize("piece", [b"ab&", b"&", b"%41", b"%", b"=", b"+", b"a=%zz&", b"%%41"])
def test_forms_cost_what_they_weigh(piece: bytes) -> None:
    small, large = (piece * n for n in (100_000, 100_000 * TIMES))
    assert growth(lambda each: refused(url_pairs, each), small, large) < LINEAR
    assert most_kept(lambda: refused(url_pairs, large)) < 3 * len(large) + 2**23
    with pytest.raises(RefusedError, match="more than 5000 pairs"):
        url_pairs(b"a&" * MAX_PAIRS)
    assert len(url_pairs(b"a&" * (MAX_PAIRS - 1))) == MAX_PAIRS - 1


PART = b'--b\r\ncontent-disposition: form-data; name="a"'


@pytest.mark.parametrize(
    "part",
    [
        PART + b"\r\n\r\nx\r\n",
        PART + b'; filename="x"\r\n\r\n' + b"y" * 100 + b"\r\n",
        PART + b";" * 900 + b"\r\n\r\nx\r\n",
        PART + b"\r\n" + b"a: b\r\n" * 50,
        PART + b"\r\n\r\n" + b"\r\n--" * 50 + b"\r\n",
        PART + b'"; x="' * 100 + b"\r\n\r\n\r\n",
    ],
)
def test_multipart_forms_cost_what_they_weigh(part: bytes) -> None:
    def read(n: int) -> None:
        asyncio.run(multipart_pairs("multipart/form-data; boundary=b", part * n))

    assert growth(read, 400, 400 * TIMES) < LINEAR
    assert most_kept(lambda: read(400 * TIMES)) < 4 * 400 * TIMES * len(part) + 2**22


@pytest.mark.parametrize("boundary", ["z" * 300, "", '"', "a b", "\xff" * 70, '"b;c"'])
def test_a_boundary_that_is_none_costs_no_more_than_the_form(boundary: str) -> None:
    for settings, headers, status in (({}, {}, 202), ({"webhook_secret": SECRET}, FORGED, 401)):
        endpoint = Endpoint(settings)
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        assert endpoint.send(PART + b"\r\n\r\nx\r\n--b--", headers | kind) == status
        assert [event.body for event in endpoint.inbox.events] == [PART + b"\r\n\r\nx\r\n--b--"] * (
            status == 202
        )


def test_large_bodies_of_strangers_are_worked_on_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where: dict[str, set[int]] = {}

    def watched(module: Any, name: str) -> None:
        function = getattr(module, name)

        def call(*given: Any) -> Any:
            if any(isinstance(each, bytes) and len(each) > 2**20 for each in given):
                where.setdefault(name, set()).add(threading.get_ident())
            return function(*given)

        monkeypatch.setattr(module, name, call)

    for module, name in ((webhook, "url_pairs"), (webhook, "is_authentic"), (bodies, "_write_all")):
        watched(module, name)
    endpoint = Endpoint({"webhook_secret": SECRET})
    for kind, sent in (
        (FORM, b"a=" + b"%41" * 10**6),
        ("multipart/form-data; boundary=b", PART + b"\r\n\r\n" + b"x" * (2 * 10**6) + b"\r\n--b--\r\n"),
        ("application/json", b" " * (2 * 10**6)),
    ):
        assert endpoint.send(sent, FORGED | {"Content-Type": kind}) == 401
    assert where.keys() == {"url_pairs", "is_authentic", "_write_all"}
    assert threading.get_ident() not in set().union(*where.values())


# ── charsets ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "charset", ["utf-7", "UTF_7", "u7", "hz", "iso-2022-jp", "iso-2022-kr", "cp037", "IBM500", "cp1140"]
)
def test_charsets_in_which_ascii_says_something_else_are_refused(charset: str) -> None:
    for kind in ("application/json", FORM, "multipart/form-data; boundary=b"):
        endpoint = Endpoint({"webhook_secret": SECRET})
        text = b'{"name": "+AGE-"}'
        signed = {SIGNATURE: digest(SECRET, text).hex(), "Content-Type": f"{kind}; charset={charset}"}
        assert endpoint.send(text, signed) == 415
        assert endpoint.inbox.events == []


def test_no_charset_changes_what_was_signed() -> None:
    """Whoever has seen a signed request may repeat it, with another header."""
    for name in sorted(bodies.KNOWN):
        for text in (
            '{"name": "é +AGE- ~{<:Ky2;~}"}'.encode(),
            b'{"name": "+AGE-\\\\"}',
            '{"name": "نص"}'.encode(),
        ):
            endpoint = Endpoint({"webhook_secret": SECRET})
            signed = {
                SIGNATURE: digest(SECRET, text).hex(),
                "Content-Type": f"application/json; charset={name}",
            }
            status = endpoint.send(text, signed)
            assert status in {202, 415}, name
            assert [event.body for event in endpoint.inbox.events] == [text] * (status == 202), name
    # a quote that follows half a letter stays one
    text = b'{"name": "\xe9\\"x"}'
    for charset in ("big5", "gbk", "gb18030", "shift_jis", "cp932", "johab"):
        endpoint = Endpoint({"webhook_secret": SECRET})
        signed = {
            SIGNATURE: digest(SECRET, text).hex(),
            "Content-Type": f"application/json; charset={charset}",
        }
        assert endpoint.send(text, signed) == 202
        assert [event.body for event in endpoint.inbox.events] == [text]


def test_what_is_no_utf8_is_still_decoded() -> None:
    for text, charset in (
        ('{"name": "Café"}', "latin-1"),
        ('{"name": "نص"}', "windows-1256"),
        ('{"name": "x"}', "utf-16"),
    ):
        endpoint = Endpoint({"webhook_secret": SECRET})
        sent = text.encode(charset)
        signed = {
            SIGNATURE: digest(SECRET, sent).hex(),
            "Content-Type": f"application/json; charset={charset}",
        }
        assert endpoint.send(sent, signed) == 202
        assert [event.body for event in endpoint.inbox.events] == [text.encode()]
