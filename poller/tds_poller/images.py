"""Fetching the pictures of products: the file first, then the row that tells of it.

Whatever ends the fetcher in between leaves a file that nobody knows of; the picture is still wanted, and the
next fetcher finds the file there.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from tds_db.images import ImageSettings, ImageStore, content_type
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import NotFoundError, RefusedError

# Calls of one lease, which lasts two minutes.
MOST_AT_ONCE = 50


@dataclass
class Images:
    """What came of fetching: how many pictures are stored, how many are none that can be had, how many are
    tried again later, and bytes fetched."""

    fetched: int = 0
    gone: int = 0
    failed: int = 0
    bytes: int = 0
    errors: list[str] = field(default_factory=list)
    """What was said of each of the two latter."""

    @property
    def done(self) -> int:
        """How many were asked for."""
        return self.fetched + self.gone + self.failed


async def fetch_images(
    client: ZohoClient,
    mirror: Mirror,
    settings: ImageSettings,
    *,
    limit: int | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Images:
    """Fetches the wanted pictures, those of the newest edits first, until there are no more; others may help.

    Args:
        client: to ask with.
        mirror: whose wants.
        settings: where to keep them.
        limit: most to fetch.
        on_progress: is told after each batch how many were asked for here, and how many of all.

    Raises:
        ZohoError: Zoho cannot be asked any further. What was fetched is stored, the rest is still wanted.
        TdsError: there is no such place as settings name.
        OSError: pictures cannot be stored there.
    """
    images = Images()
    fetcher = _Fetcher(client, mirror, settings, ImageStore(settings.place), images)
    total = await mirror.wanted_images()
    if limit is not None:
        total = min(total, limit)
    on_progress(0, total)
    while limit is None or images.done < limit:
        most = min(client.calls_per_minute, MOST_AT_ONCE)
        taken = await mirror.take_images(most if limit is None else min(most, limit - images.done))
        if not taken:
            break
        fetches = [fetcher.fetch(*picture) for picture in taken]
        # All of them come to their end before the first error is told: what was asked for is paid for.
        for outcome in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        on_progress(images.done, max(total, images.done))
    return images


@dataclass(frozen=True)
class _Fetcher:
    client: ZohoClient
    mirror: Mirror
    settings: ImageSettings
    store: ImageStore
    images: Images

    async def fetch(self, zoho_item_id: str, document_id: str) -> None:
        """Fetches and stores one picture, or notes why not."""
        try:
            reply = await self.client.get(f"/items/{quote(zoho_item_id, safe='')}/image", file=True)
        except RefusedError as error:
            gone = isinstance(error, NotFoundError)
            return await self._refuse(zoho_item_id, document_id, error.message, gone=gone)
        size, kind = len(reply.body), content_type(reply.body)
        self.images.bytes += size
        # Gone, because the same document would give the same answer again, and each costs a call.
        if size > self.settings.max_bytes:
            flaw = f"too large: {size:,} bytes, more than TDS_IMAGE_MAX_BYTES"
            return await self._refuse(zoho_item_id, document_id, flaw, gone=True)
        if kind is None:
            flaw = "not a PNG, JPEG, GIF or WebP picture"
            return await self._refuse(zoho_item_id, document_id, flaw, gone=True)
        sha256 = await asyncio.to_thread(self.store.put, reply.body)
        url = f"{self.settings.base.rstrip('/')}/images/{sha256}"
        await self.mirror.image_fetched(
            zoho_item_id, document_id, sha256=sha256, content_type=kind, size=size, url=url
        )
        self.images.fetched += 1
        return None

    async def _refuse(self, zoho_item_id: str, document_id: str, error: str, *, gone: bool) -> None:
        await self.mirror.image_failed(zoho_item_id, document_id, error, gone=gone)
        self.images.errors.append(f"item {zoho_item_id}: {error}")
        self.images.gone += gone
        self.images.failed += not gone
