"""The signature's vectors: Zoho's documented example, and one's own for what it leaves open."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tds_receiver.signature import is_authentic, signed_text, url_pairs

SECRET = b"a1b2c3d4e5f6"


def test_the_documented_example() -> None:
    body = b'{"created_date":"2019-03-06","event_id":"5675"}'
    text = signed_text(url_pairs(b"subscription_id=90343&name=basic"), body)
    assert text == b'namebasicsubscription_id90343{"created_date":"2019-03-06","event_id":"5675"}'


def test_pairs_are_decoded_whatever_their_charset() -> None:
    assert url_pairs(b"name=%D8%B2+x&e=") == [(b"name", "ز x".encode()), (b"e", b"")]
    assert url_pairs(b"name=\xff%FE") == [(b"name", b"\xff\xfe")]


@pytest.mark.parametrize("encode", [bytes.hex, lambda digest: base64.b64encode(digest).decode()])
def test_hex_and_base64_are_read_and_every_secret_fits(encode: object) -> None:
    assert callable(encode)
    digest = hmac.digest(SECRET, b"text", hashlib.sha256)
    signature = encode(digest)
    assert is_authentic([SECRET], b"text", signature)
    assert is_authentic([b"another", SECRET], b"text", signature)
    assert not is_authentic([b"another"], b"text", signature)
    assert not is_authentic([], b"text", signature)


@given(st.integers(0, 31), st.integers(1, 255))
def test_a_wrong_bit_anywhere_is_refused(place: int, flip: int) -> None:
    digest = bytearray(hmac.digest(SECRET, b"text", hashlib.sha256))
    digest[place] ^= flip
    assert not is_authentic([SECRET], b"text", digest.hex())
    assert not is_authentic([SECRET], b"text", base64.b64encode(digest).decode())


@given(st.text(max_size=80))
def test_no_header_breaks_it(header: str) -> None:
    assert not is_authentic([SECRET], b"text", header)


@given(st.binary(max_size=80))
def test_no_query_breaks_it(query: bytes) -> None:
    for key, value in url_pairs(query):
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
