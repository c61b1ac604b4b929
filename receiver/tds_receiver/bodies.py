"""Bodies as the database reads them: text in UTF-8; of a multipart form, the pairs.

What is said stays as it came. Only what a header tells and the body alone does not is undone: gzip
(`body.py`), a charset other than UTF-8, and the boundary of a multipart form, which becomes the same pairs
url-encoded. A body that cannot be unwrapped is stored as it is; the database says what is wrong with it.
"""

import codecs
import encodings
import pkgutil
import re
from encodings import aliases, normalize_encoding
from urllib.parse import quote_from_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from tds_receiver.body import SLICE, RefusedError, aside
from tds_receiver.signature import MAX_PAIRS, Pairs, url_pairs

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
MAX_CONTENT_TYPE = 1000  # characters
MAX_PART_HEAD = 1000  # bytes of a part's Content-Disposition

# Of Python's codecs those that are charsets: others (unicode_escape, idna …) would change the text.
CHARSETS = re.compile(r"utf|ascii|iso8859|latin|cp\d|koi8|mac|big5|gb|euc|shift_jis|johab|tis_620|kz1048")
UTF8 = {"utf-8", "ascii"}
# Of them, those in which a text of ASCII says something else than it does: a signature covers the bytes and
# not the charset, so that whoever repeats a signed request could change what it says.
SHIFTING = re.compile(
    r"utf[_-]?7|iso[_-]?2022|hz|cp(037|273|424|500|875|1026|1140)$|ebcdic|ibm(037|039|273|424|500|1026|1140)$"
)
# In these a byte of ASCII may be the second half of a letter: 0x5C, which ends an escape, for one.
OF_TWO_BYTES = re.compile(r"big5|gb|euc|shift_jis|johab|cp(932|949|950)")
KNOWN = frozenset(aliases.aliases) | {module.name for module in pkgutil.iter_modules(encodings.__path__)}

# Possessive, so that no header takes longer than its length.
PARAMETER = re.compile(
    r"""[^;]*+((?:;\s*+(?:[^\s;="]++\s*+(?:=\s*+(?:"(?:[^"\\]|\\.)*+"|[^;"]*+))?+)?+\s*+)*+)""", re.S
)
ONE = re.compile(r""";\s*+([^\s;="]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;"]*+)""", re.S)


def media_type(content_type: str) -> tuple[str, str | None]:
    """The media type in lower case, and the charset if it is one that has to be undone.

    Returns:
        The charset's name in Python; None for UTF-8 and for names nobody knows.

    Raises:
        RefusedError: 415, the charset is one in which ASCII means something else.
    """
    kind = content_type.partition(";")[0].strip().lower()
    charset = None
    if "charset" in content_type.lower():
        charset = _known(_parameters(content_type).get("charset", ""))
    return kind, charset


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header like Content-Type; none if it is not made as such headers are."""
    if (well_made := PARAMETER.fullmatch(header)) is None:
        return {}
    found: dict[str, str] = {}
    for name, value in ONE.findall(well_made[1]):
        text = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.strip()
        found.setdefault(name.lower(), text)
    return found


def is_covered(charset: str | None) -> bool:
    """Whether a body that is signed may be decoded so: its structure stays what it was without."""
    return charset is None or not OF_TWO_BYTES.match(charset.replace("-", "_"))


async def multipart_pairs(content_type: str, body: bytes) -> Pairs | None:
    """The pairs of a multipart form, as bytes; files (the document as PDF, say) are left out.

    Returns:
        None if it is no such form after all.
    """
    boundary = _parameters(content_type).get("boundary")
    if not boundary:
        return None
    reader = _Parts()
    try:
        parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": reader.begin,
                "on_header_begin": reader.header,
                "on_header_field": reader.field,
                "on_header_value": reader.value,
                "on_headers_finished": reader.named,
                "on_part_data": reader.data,
                "on_part_end": reader.end,
            },
        )
        await aside(len(body), _write_all, parser, body)
    except (FormParserError, _NoFormError):
        return None
    return reader.pairs


class _NoFormError(Exception):
    """A part has no name, or too long a head, or there are too many."""


def _write_all(parser: MultipartParser, body: bytes) -> None:
    for start in range(0, len(body), SLICE):
        parser.write(body[start : start + SLICE])
    parser.finalize()


class _Parts:
    """What a parser of multipart forms tells: pairs, without the files."""

    def __init__(self) -> None:
        self.pairs: Pairs = []
        self._parts = 0
        self._head: dict[bytes, bytes] = {}
        self._field = b""
        self._name: bytes | None = None
        self._data: list[bytes] = []

    def begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PAIRS:
            raise _NoFormError
        self._head, self._data = {}, []

    def header(self) -> None:
        self._field = b""

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end].lower()

    def value(self, data: bytes, start: int, end: int) -> None:
        self._head[self._field] = self._head.get(self._field, b"") + data[start:end]

    def named(self) -> None:
        disposition = self._head.get(b"content-disposition", b"")
        if len(disposition) > MAX_PART_HEAD:
            raise _NoFormError
        # Latin-1 maps every byte to one character and back: a part's bytes stay what they were.
        parameters = _parameters(disposition.decode("latin-1"))
        if "name" not in parameters:
            raise _NoFormError
        is_file = not parameters.keys().isdisjoint({"filename", "filename*"})
        self._name = None if is_file else parameters["name"].encode("latin-1")

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._data.append(data[start:end])

    def end(self) -> None:
        if self._name is not None:
            self.pairs.append((self._name, b"".join(self._data)))


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
        return _decoded(body, charset).encode()
    except (UnicodeError, LookupError):
        return body


def _form(pairs: Pairs, charset: str | None, body: bytes) -> bytes:
    try:
        parts = [
            "=".join(
                quote_from_bytes(part if charset is None else _decoded(part, charset).encode())
                for part in pair
            )
            for pair in pairs
        ]
    except UnicodeError:
        return body
    return "&".join(parts).encode()


def _decoded(text: bytes, charset: str) -> str:
    """What is UTF-8 already stays what it is, whatever a header says of it: the header is not signed."""
    if b"\0" not in text:
        try:
            return text.decode()
        except UnicodeDecodeError:
            pass
    decoder = codecs.getincrementaldecoder(charset)()
    slices = [decoder.decode(text[start : start + SLICE]) for start in range(0, len(text), SLICE)]
    return "".join([*slices, decoder.decode(b"", final=True)])


def _known(name: str) -> str | None:
    # Python remembers every name that it was asked for and did not know.
    normal = normalize_encoding(name.strip().lower())
    if SHIFTING.match(normal):
        raise RefusedError(415, f"the charset {normal} may change what was signed: send UTF-8")
    if normal not in KNOWN and normal.replace(".", "_") not in KNOWN:
        return None
    try:
        charset = codecs.lookup(normal).name
    except (LookupError, ValueError):
        return None
    if SHIFTING.match(charset):
        raise RefusedError(415, f"the charset {charset} may change what was signed: send UTF-8")
    return charset if charset not in UTF8 and CHARSETS.match(charset.replace("-", "_")) else None
