"""Pictures of items: small, real, and another one for every document id."""

from __future__ import annotations

import hashlib
import struct
import zlib

SIDE = 24
"""Width and height in pixels."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(document_id: str) -> bytes:
    """A PNG whose pixels follow from the document id alone.

    Args:
        document_id: of the image; equal ids give equal bytes, others other bytes.
    """
    seed = hashlib.sha256(document_id.encode()).digest()
    colours = [seed[3 * i : 3 * i + 3] for i in range(2)]
    # Mirrored left to right, as the generated pictures of accounts are; six pixels to a field.
    fields = [[seed[6 + 2 * row + min(column, 3 - column)] & 1 for column in range(4)] for row in range(4)]
    lines = b"".join(
        b"\0" + b"".join(colours[fields[y * 4 // SIDE][x * 4 // SIDE]] for x in range(SIDE))
        for y in range(SIDE)
    )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    # The pattern has few forms and the colours may come near each other: the id itself tells all apart.
    text = _chunk(b"tEXt", b"Document\0" + document_id.encode())
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + text
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )
