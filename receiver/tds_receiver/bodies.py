"""Bodies as the database reads them: text in UTF-8; of a multipart form, the pairs.

What is said stays as it came. Only what a header tells and the body alone does not is undone: gzip
(`body.py`), a charset other than UTF-8, and the boundary of a multipart form, which becomes the same pairs
url-encoded. A body that cannot be unwrapped is stored as it is; the database says what is wrong with it.
"""

import codecs
import re
from collections.abc import AsyncGenerator
from email.message import Message
from urllib.parse import quote_from_bytes

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from tds_receiver.signature import Pairs, url_pairs

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

# Of Python's codecs those that are charsets: others (unicode_escape, idna …) would change the text.
CHARSETS = re.compile(r"utf|ascii|iso8859|latin|cp\d|koi8|mac|big5|gb|euc|shift_jis|hz$|johab|tis_620|kz1048")
UTF8 = {"utf-8", "ascii"}


def media_type(content_type: str) -> tuple[str, str | None]:
    """The media type in lower case, and the charset if it is one that has to be undone.

    Returns:
        The charset's name in Python; None for UTF-8 and for names nobody knows.
    """
    kind, _, parameters = content_type.partition(";")
    charset = None
    if "charset" in parameters.lower():
        message = Message()
        message["content-type"] = content_type
        charset = _known(str(message.get_param("charset", "")))
    return kind.strip().lower(), charset


async def multipart_pairs(content_type: str, body: bytes) -> Pairs | None:
    """The pairs of a multipart form, as bytes; files (the document as PDF, say) are left out.

    Returns:
        None if it is no such form after all.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # Latin-1 maps every byte to one character and back: a part's bytes stay what they were.
    kind = re.sub(r"(?i);\s*charset\s*=\s*(\"[^\"]*\"|[^;]*)", "", content_type) + "; charset=latin-1"
    parser = MultiPartParser(Headers({"content-type": kind}), stream(), max_part_size=len(body))
    try:
        form = await parser.parse()
    except MultiPartException:
        return None
    pairs: Pairs = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in form.multi_items()
        if isinstance(value, str)
    ]
    await form.close()
    return pairs


def as_stored(kind: str, charset: str | None, body: bytes, multipart: Pairs | None) -> bytes:
    """The body as it goes into the inbox.

    Args:
        kind: its media type.
        charset: as `media_type` found it.
        body: as it came, gzip undone.
        multipart: its pairs, where it is a multipart form with any.
    """
    if multipart:
        return _form(multipart, charset, body)
    if charset is None:
        return body
    if kind == FORM:
        return _form(url_pairs(body), charset, body)
    try:
        return body.decode(charset).encode()
    except (UnicodeError, LookupError):
        return body


def _form(pairs: Pairs, charset: str | None, body: bytes) -> bytes:
    try:
        parts = [
            "=".join(
                quote_from_bytes(part if charset is None else part.decode(charset).encode()) for part in pair
            )
            for pair in pairs
        ]
    except UnicodeError:
        return body
    return "&".join(parts).encode()


def _known(name: str) -> str | None:
    try:
        charset = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return None
    return charset if charset not in UTF8 and CHARSETS.match(charset.replace("-", "_")) else None
