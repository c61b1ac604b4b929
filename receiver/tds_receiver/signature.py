"""Zoho's webhook signature, and the fixed tokens that may stand in for it.

The algorithm is Zoho's own (zoho.com/billing/kb/webhooks/securing-webhooks.html; Books uses the same): the
decoded pairs of the query string and of a form body, sorted by key, are joined without any separator, a JSON
body is appended as it came, and the whole is signed with HMAC-SHA256. The page does not say whether the
header `X-Zoho-Webhook-Signature` is hexadecimal or Base64, and receivers of both kinds exist; either is read.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence

from tds_receiver.body import SLICE, RefusedError

Pairs = list[tuple[bytes, bytes]]

MAX_PAIRS = 5000  # Zoho's largest entity map has some hundreds
NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
PERCENT_IS_EQUALS = bytes.maketrans(b"%+", b"= ")


def url_pairs(encoded: bytes) -> Pairs:
    """The decoded pairs of a query string or of a form body, in any charset.

    Takes time and memory in proportion to its length: whoever sends it has proved nothing yet.

    Raises:
        RefusedError: 413, there are more than `MAX_PAIRS`.
    """
    if encoded.count(b"&") >= MAX_PAIRS:
        raise RefusedError(413, f"there are more than {MAX_PAIRS} pairs")
    pairs = (pair.partition(b"=") for pair in encoded.split(b"&") if pair)
    return [(_unescaped(key), _unescaped(value)) for key, _, value in pairs]


def _unescaped(text: bytes) -> bytes:
    """Without + and %XX, however many there are; a slice at a time, so that other threads have their turn."""
    if b"%" not in text:
        return text.replace(b"+", b" ")
    slices = []
    start = 0
    while start < len(text):
        end = start + SLICE
        # An escape of three bytes is not cut.
        end -= next((back for back in (1, 2) if text[end - back : end - back + 1] == b"%"), 0)
        # Quoted-printable is the same with another sign, and decoded in C.
        part = NO_ESCAPE.sub(b"%25", text[start:end].replace(b"=", b"%3D")).translate(PERCENT_IS_EQUALS)
        slices.append(binascii.a2b_qp(part))
        start = end
    return b"".join(slices)


def signed_text(pairs: Iterable[tuple[bytes, bytes]], json_body: bytes) -> bytes:
    """The bytes that Zoho signs: sorted pairs, then the body unless it is a form (pass `b""` then)."""
    return b"".join(key + value for key, value in sorted(pairs)) + json_body


def is_authentic(secrets: Sequence[bytes], text: bytes, signature: str) -> bool:
    """Whether one of the `secrets` signed `text`. Takes the same time whichever secret fits, or none."""
    given = _decoded(signature)
    # A long text is signed with others having their turn.
    digests = [
        hmac.digest(secret, text, hashlib.sha256)
        if len(text) < SLICE
        else hmac.new(secret, text, hashlib.sha256).digest()
        for secret in secrets
    ]
    return any([hmac.compare_digest(digest, given) for digest in digests])  # noqa: C419 - no short cut


def is_token(tokens: Sequence[bytes], given: Iterable[bytes]) -> bool:
    """Whether one of those given is one of the `tokens`. Takes the same time whichever fits, or none."""
    return any([hmac.compare_digest(token, each) for each in given for token in tokens])  # noqa: C419


def _decoded(signature: str) -> bytes:
    try:
        if len(signature) == 64:
            return bytes.fromhex(signature)
        return base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error):
        return b""
