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
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl

Pairs = list[tuple[bytes, bytes]]


def url_pairs(encoded: bytes) -> Pairs:
    """The decoded pairs of a query string or of a form body, in any charset."""
    # Latin-1 maps every byte to one character and back, so that no charset can be guessed wrongly here.
    pairs = parse_qsl(encoded.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    return [(key.encode("latin-1"), value.encode("latin-1")) for key, value in pairs]


def signed_text(pairs: Iterable[tuple[bytes, bytes]], json_body: bytes) -> bytes:
    """The bytes that Zoho signs: sorted pairs, then the body unless it is a form (pass `b""` then)."""
    return b"".join(key + value for key, value in sorted(pairs)) + json_body


def is_authentic(secrets: Sequence[bytes], text: bytes, signature: str) -> bool:
    """Whether one of the `secrets` signed `text`. Takes the same time whichever secret fits, or none."""
    given = _decoded(signature)
    digests = [hmac.digest(secret, text, hashlib.sha256) for secret in secrets]
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
