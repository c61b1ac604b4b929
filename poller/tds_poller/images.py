"""Fetching the pictures of products: the file first, then the row that tells of it.

Whatever ends the fetcher in between leaves a file that no product shows; the picture is still wanted, and the
next fetcher finds the file there. What no product shows for longer than its period is removed.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from tds_db.images import ImageSettings, ImageStore, content_type
from tds_poller.mirror import Mirror
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import (
    NotFoundError,
    RefusedError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
)

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


@dataclass
class Pruned:
    """Files that were removed, or would be."""

    removed: list[str] = field(default_factory=list)
    """Those that nothing shows any more."""
    bytes: int = 0
    """Of these."""
    strangers: list[str] = field(default_factory=list)
    """Those that killed fetchers left."""


async def prune_known(mirror: Mirror, settings: ImageSettings, *, limit: int | None = None) -> Pruned:
    """Removes files of pictures that nothing has shown for longer than the setting keep_image_files_days.

    Args:
        mirror: whose pictures; the place is its alone.
        settings: where they are kept.
        limit: how many at most; None: all.

    Raises:
        TdsError: there is no such place as settings name.
        OSError: a file cannot be removed. It is still unneeded.
    """
    store, pruned = ImageStore(settings.place), Pruned()
    while limit is None or len(pruned.removed) < limit:
        some = MOST_AT_ONCE if limit is None else min(MOST_AT_ONCE, limit - len(pruned.removed))
        found = await mirror.remove_image_files(store.remove, some)
        pruned.removed += [name for name, _ in found]
        pruned.bytes += sum(size or 0 for _, size in found)
        if len(found) < some:
            break
    return pruned


async def prune(mirror: Mirror, settings: ImageSettings, *, dry_run: bool) -> Pruned:
    """Removes what nothing shows, and the files that killed fetchers left more than a day ago.

    Args:
        mirror: whose pictures; the place is its alone.
        settings: where they are kept.
        dry_run: only tell what would be removed.

    Raises:
        TdsError: there is no such place as settings name.
        OSError: the place cannot be read, or a file cannot be removed.
    """
    store = ImageStore(settings.place)
    if dry_run:
        found = await mirror.unneeded_image_files()
        pruned = Pruned([name for name, _ in found], sum(size or 0 for _, size in found))
    else:
        pruned = await prune_known(mirror, settings)
    # Listed before it is asked what is known: what is stored meanwhile is known by then.
    before = datetime.now(UTC) - timedelta(days=1)
    left = await asyncio.to_thread(store.written_before, before)
    known = await mirror.known_image_files()
    pruned.strangers = [path for path in left if path.rpartition("/")[2] not in known]
    if not dry_run:
        for path in pruned.strangers:
            await asyncio.to_thread(store.remove_path, path)
    return pruned


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
        except (RefusedError, TooLargeError, UnreachableError) as error:
            if await self.client.stops_all(error):
                raise
            gone = isinstance(error, TooLargeError | NotFoundError)
            return await self._refuse(zoho_item_id, document_id, error.message, gone=gone)
        except UnauthorizedError as error:
            await self._refuse(zoho_item_id, document_id, error.message, gone=False)
            raise
        size, kind = len(reply.body), content_type(reply.body)
        self.images.bytes += size
        # Gone, because the same document would give the same answer again, and each costs a call.
        if size > self.settings.max_bytes:
            flaw = f"too large: {size:,} bytes, more than TDS_IMAGE_MAX_BYTES"
            return await self._refuse(zoho_item_id, document_id, flaw, gone=True)
        if kind is None:
            flaw = "not a PNG, JPEG, GIF or WebP picture"
            return await self._refuse(zoho_item_id, document_id, flaw, gone=True)
        await self.mirror.keep_image_file(hashlib.sha256(reply.body).hexdigest(), size)
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
