"""Pictures are served by their SHA-256, for ever, and nothing else is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tds_db.images import ImageStore
from tds_sandbox.images import png
from tests.receiver.conftest import Receive

PICTURE = png("4711")
NAME = hashlib.sha256(PICTURE).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where one picture is kept, beside a file that is none of them."""
    (tmp_path / "secret").write_text("secret")
    ImageStore(str(tmp_path / "pictures")).put(PICTURE)
    return tmp_path / "pictures"


def test_a_picture_is_served_for_ever(receiver: Receive, place: Path) -> None:
    client = receiver(image_url=str(place))
    answer = client.get(f"/images/{NAME}")
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["etag"] == f'"{NAME}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.head(f"/images/{NAME}").headers["content-length"] == str(len(PICTURE))


@pytest.mark.parametrize(
    ("known", "status"), [(f'"{NAME}"', 304), (f'"x", W/"{NAME}"', 304), ("*", 304), ('"x"', 200)]
)
def test_who_has_it_gets_it_not_again(receiver: Receive, place: Path, known: str, status: int) -> None:
    answer = receiver(image_url=str(place)).get(f"/images/{NAME}", headers={"if-none-match": known})
    assert (answer.status_code, answer.content) == (status, PICTURE if status == 200 else b"")


@pytest.mark.parametrize(
    "path",
    [
        "0" * 64,
        NAME.upper(),
        NAME[:-1],
        "..%2f..%2fsecret",
        "..%2fsecret",
        "%2e%2e/secret",
        "..%5csecret",
        "%2fetc%2fpasswd",
        NAME[:2] + "%2f" + NAME,
        NAME + "%00",
        "",
    ],
)
def test_nothing_else_is_served(receiver: Receive, place: Path, path: str) -> None:
    assert receiver(image_url=str(place)).get(f"/images/{path}").status_code == 404


def test_what_came_into_the_directory_otherwise_is_not_served(receiver: Receive, place: Path) -> None:
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    ImageStore(str(place)).put(page)
    assert (
        receiver(image_url=str(place)).get(f"/images/{hashlib.sha256(page).hexdigest()}").status_code == 404
    )
