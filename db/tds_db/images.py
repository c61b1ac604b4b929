"""Where pictures of products are kept: in a directory, or any other place that fsspec knows.

A file is named by the SHA-256 of what is in it, is there whole or not at all, and never changes.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import fsspec
import puremagic
from fsspec.implementations.local import LocalFileSystem
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tds_db.errors import TdsError
from tds_db.settings import DatabaseSettings

CONTENT_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
SHA256 = re.compile(r"[0-9a-f]{64}")
OURS = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{32})?")  # with a suffix: never finished


class ImageSettings(BaseSettings):
    """`TDS_IMAGE_URL`, `TDS_IMAGE_MAX_BYTES` and `TDS_IMAGE_BASE`."""

    model_config = SettingsConfigDict(env_prefix="TDS_IMAGE_")

    url: str | None = None
    """Where pictures are kept: a directory, or a URL of fsspec (s3://bucket/pictures, if its driver is
    installed). Unset: `images` below TDS_DATA_DIR."""

    max_bytes: int = Field(default=10 * 2**20, gt=0)
    """Largest picture kept."""

    base: str = ""
    """What products.image_url begins with, before /images/…: the receiver's public URL."""

    @property
    def place(self) -> str:
        """The directory or URL in force."""
        return self.url or str(DatabaseSettings().data_dir / "images")


def content_type(body: bytes) -> str | None:
    """The media type that the first bytes tell, if it is one of those kept: PNG, JPEG, GIF or WebP.

    Never what a header or a name says: what is served from here must not be a page or a script.
    """
    try:
        found = puremagic.from_string(body, mime=True)
    except (puremagic.PureError, ValueError):  # of no kind known; empty
        return None
    return found if found in CONTENT_TYPES else None


class ImageStore:
    """Pictures by their SHA-256, in lower-case hexadecimal. Its methods block; call them from a thread.

    Args:
        place: a directory, or a URL of fsspec.

    Raises:
        TdsError: there is no such kind of place, or its driver is not installed.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._files: Any
        try:
            self._files, root = fsspec.url_to_fs(place)
        except (ImportError, ValueError) as error:
            raise TdsError(
                f"Pictures cannot be kept in {place}: {error}.", "Change TDS_IMAGE_URL."
            ) from error
        self._root = root.rstrip("/")

    def put(self, body: bytes) -> str:
        """Stores a picture, unless it is there, and returns its SHA-256 once it is safe.

        Raises:
            OSError: it could not be stored.
        """
        sha256 = hashlib.sha256(body).hexdigest()
        path = self._path(sha256)
        if self._files.exists(path):
            return sha256
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(self._files, LocalFileSystem):
            _write(path, body)
        else:
            # An object store shows an object when all of it is there.
            self._files.pipe_file(path, body)
        return sha256

    def get(self, sha256: str) -> bytes | None:
        """A picture, None where there is none of that name.

        Raises:
            OSError: it could not be read.
        """
        if not SHA256.fullmatch(sha256):
            return None
        try:
            body: bytes = self._files.cat_file(self._path(sha256))
        except FileNotFoundError:
            return None
        return body

    def remove(self, sha256: str) -> bool:
        """Removes a picture, if it is there; returns whether it was.

        Raises:
            OSError: it could not be removed.
        """
        if not SHA256.fullmatch(sha256):
            return False
        try:
            self._files.rm_file(self._path(sha256))
        except FileNotFoundError:
            return False
        return True

    def written_before(self, moment: datetime) -> list[str]:
        """Paths of the files, unfinished ones among them, that nobody has written since that moment.

        Args:
            moment: with a time zone.

        Raises:
            OSError: the place cannot be read.
        """
        try:
            paths = self._files.find(self._root)
        except FileNotFoundError:
            return []
        return sorted(
            path for path in paths if OURS.fullmatch(path.rpartition("/")[2]) and self._written(path) < moment
        )

    def _written(self, path: str) -> datetime:
        written: datetime = self._files.modified(path)
        return written if written.tzinfo else written.replace(tzinfo=UTC)

    def remove_path(self, path: str) -> None:
        """Removes a file by its path.

        Raises:
            OSError: it could not be removed.
        """
        self._files.rm_file(path)

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


def _write(path: str, body: bytes) -> None:
    """Writes a file that is whole whenever it is there, and stays so when the power fails."""
    unfinished = f"{path}.{uuid4().hex}"
    try:
        with open(unfinished, "wb") as file:  # noqa: PTH123 - fsspec's paths are text
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)  # noqa: PTH105
    except BaseException:
        if os.path.exists(unfinished):  # noqa: PTH110
            os.unlink(unfinished)  # noqa: PTH108
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY)  # noqa: PTH120
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
