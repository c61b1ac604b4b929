"""Pictures, from the sandbox into files and rows: fetched once, again when changed, never half."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

import tds_sandbox.app
from tds_db.images import ImageSettings, ImageStore, content_type
from tds_poller.images import Images, Pruned, fetch_images
from tds_poller.images import prune as pruning
from tds_poller.mirror import Mirror
from tds_poller.poll import Poll, read_queue
from tds_poller.zoho.bounded import BoundedClient
from tds_poller.zoho.client import ZohoClient
from tds_poller.zoho.errors import ZohoError
from tds_sandbox.errors import ApiError
from tds_sandbox.images import png
from tds_sandbox.organisation import Organisation
from tests import commands
from tests.db.servers import TestServer
from tests.journeys.waiting import PATIENCE, wait_until
from tests.poller.conftest import Poller, furnished, small_organisation

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(50) + b"\xff\xd9"
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
WEBP = b"RIFF\x1e\x00\x00\x00WEBPVP8 " + bytes(30)


class Pictures:
    """Fetching pictures into a directory of the test's."""

    def __init__(self, poller: Poller, directory: Path, connection: psycopg.Connection) -> None:
        self.poller = poller
        self.directory = directory
        self.connection = connection

    def settings(self, **changed: Any) -> ImageSettings:
        return ImageSettings(**{"url": str(self.directory), "base": "https://tds.example", **changed})

    def fetch(self, limit: int | None = None, **changed: Any) -> Images:
        async def task(client: ZohoClient, mirror: Mirror) -> Images:
            return await fetch_images(client, mirror, self.settings(**changed), limit=limit)

        return self.poller.run(task)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters).fetchall()

    def files(self) -> set[str]:
        return {path.name for path in self.directory.rglob("*") if path.is_file()}

    def calls(self) -> int:
        return sum(call.path.endswith("/image") for call in self.poller.sandbox.ledger.calls)

    def pull(self) -> None:
        self.poller.pull("products")

    def end_leases(self) -> None:
        self.connection.execute(
            "update tds.image set leased_until = now() - interval '1 second' where leased_until is not null"
        )


def organisation() -> Organisation:
    """20 of its products have a picture, so that it is quick."""
    books = small_organisation()
    pictured = [item for item in books.book("items").records if item.image_id]
    for item in pictured[20:]:
        item.image_id = item.image_name = ""
    return books


@pytest.fixture
def poller(test_server: TestServer) -> Iterator[Poller]:
    """On products that are there already."""
    with furnished(test_server, "pictured", organisation, lambda poller: poller.pull("products")) as poller:
        yield poller


@pytest.fixture
def pictures(poller: Poller, tmp_path: Path) -> Iterator[Pictures]:
    with poller.database.connect(autocommit=True) as connection:
        yield Pictures(poller, tmp_path / "pictures", connection)


def documents(pictures: Pictures) -> dict[str, str]:
    return dict(
        pictures.rows(
            "select zoho_item_id, image_document_id from zoho.products where image_document_id is not null"
        )
    )


def test_every_picture_is_fetched_once(pictures: Pictures) -> None:
    shown = documents(pictures)
    assert len(shown) == 20
    images = pictures.fetch()
    assert (images.fetched, images.gone, images.failed, pictures.calls()) == (20, 0, 0, 20)
    for item, url in pictures.rows(
        "select zoho_item_id, image_url from zoho.products where image_document_id is not null"
    ):
        sha256 = hashlib.sha256(png(shown[item])).hexdigest()
        assert url == f"https://tds.example/images/{sha256}"
        assert ImageStore(str(pictures.directory)).get(sha256) == png(shown[item])
    row = pictures.rows("select distinct state, content_type, bytes > 0, error, leased_until from tds.image")
    assert row == [("ready", "image/png", True, None, None)]
    assert pictures.rows(
        "select count(*) from zoho.products where image_document_id is null and image_url is not null"
    ) == [(0,)]
    assert pictures.fetch().done == 0
    assert pictures.calls() == 20


def test_a_changed_picture_is_fetched_again_and_not_shown_meanwhile(pictures: Pictures) -> None:
    pictures.fetch()
    item = min(documents(pictures))
    before = pictures.rows("select image_url from zoho.products where zoho_item_id = %s", item)
    pictures.poller.sandbox.organisation.edit("items", item, kind="image")
    pictures.pull()
    assert pictures.rows("select image_url from zoho.products where zoho_item_id = %s", item) == [(None,)]
    assert pictures.fetch().fetched == 1
    after = pictures.rows("select image_url from zoho.products where zoho_item_id = %s", item)
    assert after not in ([(None,)], before)
    assert pictures.calls() == 21


def test_the_newest_edit_s_picture_comes_first(pictures: Pictures) -> None:
    item = max(documents(pictures))
    pictures.connection.execute(
        "update zoho.products set sync_modified_at = now() where zoho_item_id = %s", [item]
    )
    assert pictures.fetch(limit=1).fetched == 1
    assert pictures.rows("select zoho_item_id from tds.image where state = 'ready'") == [(item,)]


def test_what_zoho_has_not_is_asked_for_once(pictures: Pictures) -> None:
    item = min(documents(pictures))
    pictures.poller.sandbox.organisation.find("items", item).image_id = ""
    images = pictures.fetch()
    assert (images.fetched, images.gone) == (19, 1)
    assert pictures.rows(
        "select state, image_url from tds.image join zoho.products using (zoho_item_id) where zoho_item_id = %s",
        item,
    ) == [("gone", None)]
    pictures.end_leases()
    assert pictures.fetch().done == 0


@pytest.mark.parametrize("status", [400, 500])
def test_what_fails_for_now_is_left_alone_for_a_while(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("tds_poller.zoho.retry.PAUSES", (0, 0, 0))

    def refuse(*_: object) -> None:
        raise ApiError(status, 9, "Not today.")

    with monkeypatch.context() as patch:
        patch.setattr(tds_sandbox.app, "_image", refuse)
        images = pictures.fetch()
        assert (images.fetched, images.gone, images.failed) == (0, 0, 20)
        assert pictures.fetch().done == 0
        pauses = (
            "select distinct leased_until - changed_at from tds.image where state = 'failed' and tries = %s"
        )
        [(first,)] = pictures.rows(pauses, 1)
        pictures.end_leases()
        assert pictures.fetch().failed == 20
        assert pictures.rows(pauses, 2) == [(2 * first,)]
    pictures.end_leases()
    assert pictures.fetch().fetched == 20
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [(20,)]


def test_a_scope_that_is_missing_stops_no_poller(
    pictures: Pictures, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ApiError(401, 57, "You are not authorized to perform this operation")

    monkeypatch.setattr(tds_sandbox.app, "_image", refuse)
    own = environment | {"TDS_IMAGE_URL": str(pictures.directory)}
    done = commands.tds(own, "poll", "--once")
    assert (done.returncode, "Pictures are not fetched" in done.stderr) == (0, True), done.stderr
    assert pictures.rows("select distinct state, tries, error like '%%code 57%%' from tds.image") == [
        ("failed", 1, True)
    ]
    assert pictures.rows("select count(*) from tds.api_budget where refused is not null") == [(0,)]


def test_an_answer_that_is_too_large_for_any_is_one_pictures_fault(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sorted(len(png(document)) for document in documents(pictures).values())
    bounds = BoundedClient.__init__.__kwdefaults__
    assert bounds is not None
    monkeypatch.setitem(bounds, "largest", sizes[9])
    images = pictures.fetch()
    assert images.fetched == sum(size <= sizes[9] for size in sizes)
    assert images.gone == 20 - images.fetched > 0


@pytest.mark.parametrize("body", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<!DOCTYPE html><html></html>",
                                  b"BM" + bytes(60), b"", b"hello"],
                         ids=["svg", "html", "bmp", "empty", "text"])  # fmt: skip
def test_what_is_no_picture_is_not_kept(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Whatever its header says: the sandbox says image/png."""
    monkeypatch.setattr(tds_sandbox.app, "png", lambda _: body)
    images = pictures.fetch()
    assert (images.fetched, images.gone) == (0, 20)
    assert not pictures.directory.exists()
    assert pictures.rows("select distinct error from tds.image") == [
        ("not a PNG, JPEG, GIF or WebP picture",)
    ]
    pictures.end_leases()
    assert pictures.fetch().done == 0, "the same document would be the same again"


def test_what_is_too_large_is_not_kept(pictures: Pictures) -> None:
    sizes = sorted(len(png(document)) for document in documents(pictures).values())
    images = pictures.fetch(max_bytes=sizes[9])
    assert images.fetched == sum(size <= sizes[9] for size in sizes)
    assert images.fetched + images.gone == 20
    assert images.gone > 0
    [(error,)] = pictures.rows(
        "select distinct regexp_replace(error, '[0-9]+', 'n') from tds.image where state = 'gone'"
    )
    assert error == "too large: n bytes, more than TDS_IMAGE_MAX_BYTES"
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [
        (images.fetched,)
    ]


def test_all_four_kinds_are_kept(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [JPEG, GIF, WEBP, png("1")]
    turns = itertools.cycle(kinds)
    monkeypatch.setattr(tds_sandbox.app, "png", lambda _: next(turns))
    assert pictures.fetch().fetched == 20
    found = {kind for (kind,) in pictures.rows("select distinct content_type from tds.image")}
    assert found == {"image/jpeg", "image/gif", "image/webp", "image/png"}
    assert [content_type(body) for body in kinds] == ["image/jpeg", "image/gif", "image/webp", "image/png"]
    assert len(pictures.files()) == 4, "what is the same is kept once"


def test_dying_between_file_and_row_loses_nothing(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object, **__: object) -> None:
        raise ZohoError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "image_fetched", die)
        with pytest.raises(ZohoError, match="killed here"):
            pictures.fetch()
    kept = pictures.files()
    assert len(kept) == 20
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [(0,)]
    assert pictures.fetch().done == 0, "leased"
    pictures.end_leases()
    assert pictures.fetch().fetched == 20
    assert pictures.files() == kept
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [(20,)]


def test_dying_while_a_file_is_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    store = ImageStore(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", die)
        with pytest.raises(KeyboardInterrupt):
            store.put(GIF)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.get(hashlib.sha256(GIF).hexdigest()) is None
    assert store.get(store.put(GIF)) == GIF


def test_who_comes_while_another_takes_gets_the_rest(pictures: Pictures) -> None:
    take = "select zoho_item_id from tds.take_images(%s, 10)"
    organization = [pictures.poller.settings().organization_id]
    database = pictures.poller.database
    with database.connect() as first, database.connect() as second, ThreadPoolExecutor() as pool:
        taken = first.execute(take, organization).fetchall()
        other = pool.submit(lambda: second.execute(take, organization).fetchall())
        blocked = "select 1 from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        while not pictures.rows(blocked, second.info.backend_pid):
            assert not other.done()
            time.sleep(0.01)
        first.commit()
        assert len({*taken, *other.result(PATIENCE)}) == 20


def test_a_fetcher_that_is_killed_leaves_the_picture_wanted(
    pictures: Pictures, environment: dict[str, str]
) -> None:
    """With SIGKILL, when the file is there and the row waits for a lock that the test holds."""
    waiting = "select pid from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'tds/poller/%%'"
    with pictures.poller.database.connect() as blocker:
        blocker.execute("lock table zoho.products in exclusive mode")
        command = [sys.executable, "-P", "-m", "tds_cli", "images"]
        own = {**environment, "TDS_IMAGE_URL": str(pictures.directory)}
        program = subprocess.Popen(command, env=own, stderr=subprocess.DEVNULL)
        waits = wait_until(
            lambda: pictures.files() and pictures.rows(waiting), "it waits with a file in hand"
        )
        program.kill()
        program.wait()
        while waits:
            for (pid,) in waits:
                pictures.connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
            waits = pictures.rows(waiting)
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [(0,)]
    pictures.end_leases()
    assert pictures.fetch().fetched == 20
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [(20,)]


def test_two_fetchers_share_the_work(pictures: Pictures) -> None:
    async def both(client: ZohoClient, mirror: Mirror) -> list[Images]:
        return await asyncio.gather(*(fetch_images(client, mirror, pictures.settings()) for _ in range(2)))

    # leases of five, so that both have their turn
    first, second = pictures.poller.run(both, calls_per_minute=5)
    assert first.fetched + second.fetched == 20
    assert first.fetched > 0
    assert second.fetched > 0
    assert pictures.calls() == 20
    assert pictures.rows("select count(*) from zoho.products where image_url is not null") == [(20,)]


def test_a_picture_that_changed_while_it_was_fetched_is_not_shown(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = min(documents(pictures))
    taken = pictures.rows(
        "select zoho_item_id, image_document_id from tds.take_images(%s, 20)",
        pictures.poller.settings().organization_id,
    )
    pictures.poller.sandbox.organisation.edit("items", item, kind="image")
    pictures.pull()
    for zoho_item_id, document in taken:
        pictures.connection.execute(
            "select tds.image_fetched(%s, %s, %s, 'abc', 'image/png', 3, '/images/abc')",
            [pictures.poller.settings().organization_id, zoho_item_id, document],
        )
    assert pictures.rows("select image_url from zoho.products where zoho_item_id = %s", item) == [(None,)]
    assert pictures.fetch().fetched == 1


def test_the_store_can_be_anywhere(pictures: Pictures) -> None:
    assert pictures.fetch(limit=3, url="memory://pictures").fetched == 3
    [(sha256,), *_] = pictures.rows("select sha256 from tds.image where state = 'ready' order by 1")
    body = ImageStore("memory://pictures").get(sha256)
    assert body is not None
    assert hashlib.sha256(body).hexdigest() == sha256


def retain(pictures: Pictures) -> list[tuple[Any, ...]]:
    """The job of the night; what went wrong."""
    return pictures.rows("select what, error from tds.retain() where error is not null")


def age(pictures: Pictures, days: int) -> None:
    """As if all that is known of files were so much older."""
    pictures.connection.execute(
        """update tds.image_file
              set stored_at = stored_at - make_interval(days => %(days)s), unneeded_at = unneeded_at - make_interval(days => %(days)s)""",
        {"days": days},
    )


def prune(pictures: Pictures, *, dry_run: bool = False) -> Pruned:
    """Removes what is to be removed."""

    async def task(client: ZohoClient, mirror: Mirror) -> Pruned:
        return await pruning(mirror, pictures.settings(), dry_run=dry_run)

    return pictures.poller.run(task)


def test_files_that_no_product_shows_are_removed_after_their_period(pictures: Pictures) -> None:
    assert pictures.fetch().fetched == 20
    [(gone, shown), (twice, other)] = pictures.rows(
        "select zoho_item_id, sha256 from tds.image order by zoho_item_id limit 2"
    )
    # two products, one of them deleted, show the same file: it stays
    pictures.connection.execute("update tds.image set sha256 = %s where zoho_item_id = %s", [shown, twice])
    pictures.connection.execute("delete from tds.image where zoho_item_id = %s", [gone])
    age(pictures, 1)
    assert retain(pictures) == []
    assert pictures.rows("select sha256 from tds.image_file where unneeded_at is not null") == [(other,)]
    assert prune(pictures).removed == [], "a cached page may still point to it"
    age(pictures, 31)
    assert prune(pictures, dry_run=True).removed == [other]
    assert other in pictures.files()
    pruned = prune(pictures)
    assert pruned.removed == [other]
    assert pruned.bytes > 0
    assert pictures.files() == {sha256 for (sha256,) in pictures.rows("select sha256 from tds.image")}
    assert len(pictures.files()) == 19
    [(rows, days, removed, error)] = pictures.rows(
        """
        select (select count(*) from tds.image_file), days, removed, error
          from tds_retention where what = 'image_files'"""
    )
    assert (rows, days, removed, error) == (19, 30, 1, None)
    assert prune(pictures) == Pruned()


def test_a_file_that_is_wanted_again_stays(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pictures.fetch(limit=1).fetched == 1
    [(sha256,)] = pictures.rows("select sha256 from tds.image")
    pictures.connection.execute("delete from tds.image")
    age(pictures, 1)
    retain(pictures)
    age(pictures, 31)
    # who stores it just then has told so first, and who removes is waited for
    with pictures.poller.database.connect() as other:
        other.execute("select tds.keep_image_file(%s, 1)", [sha256])
        assert prune(pictures).removed == [], "it is left out, not waited for"
        other.commit()
    assert prune(pictures).removed == []
    assert pictures.files() == {sha256}
    pictures.connection.execute("update tds.image_file set unneeded_at = now() - interval '40 days'")

    def fail(self: ImageStore, name: str) -> bool:
        raise PermissionError(name)

    monkeypatch.setattr(ImageStore, "remove", fail)
    with pytest.raises(PermissionError):
        prune(pictures)
    assert pictures.rows("select count(*) from tds.image_file") == [(1,)], "it is still unneeded"
    monkeypatch.undo()
    assert prune(pictures).removed == [sha256]


def test_what_killed_fetchers_left_is_removed_after_a_day(pictures: Pictures) -> None:
    assert pictures.fetch(limit=2).fetched == 2
    kept = pictures.files()
    directory = pictures.directory / "ab"
    directory.mkdir(exist_ok=True)
    names = {"ab" + "0" * 62: 2, "ab" + "0" * 62 + "." + "1" * 32: 2, "ab" + "2" * 62: 0, "README": 2}
    for name, days in names.items():
        (directory / name).write_bytes(b"x")
        then = time.time() - 86_400 * days
        os.utime(directory / name, (then, then))
    for path in pictures.directory.rglob("*"):
        if path.name in kept:
            os.utime(path, (1, 1))
    assert len(prune(pictures, dry_run=True).strangers) == 2
    assert len(prune(pictures).strangers) == 2
    assert pictures.files() == kept | {"ab" + "2" * 62, "README"}


def test_the_poller_removes_files_by_itself(pictures: Pictures, tmp_path: Path) -> None:
    assert pictures.fetch().fetched == 20
    pictures.connection.execute("update tds.image_file set unneeded_at = now() - interval '40 days'")
    pictures.connection.execute("delete from tds.image")
    pictures.connection.execute("update zoho.products set image_document_id = null")

    async def task(client: ZohoClient, mirror: Mirror) -> None:
        queue = await asyncio.to_thread(read_queue, pictures.poller.database.conninfo)
        await Poll(client, mirror, queue, pictures.settings()).once()
        assert queue.pool is not None
        await asyncio.to_thread(queue.pool.close)

    pictures.poller.run(task)
    assert pictures.files() == set()
    assert pictures.rows("select count(*) from tds.image_file") == [(0,)]


def test_the_command_says_what_it_did(pictures: Pictures, environment: dict[str, str]) -> None:
    def tds(*arguments: str) -> subprocess.CompletedProcess[str]:
        own = {**environment, "TDS_IMAGE_URL": str(pictures.directory)}
        return commands.tds(own, "images", *arguments)

    done = tds("--limit", "5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["fetched"], told["still_wanted"]) == (5, 15)
    pictures.poller.sandbox.organisation.find(
        "items", min(item for (item,) in pictures.rows("select zoho_item_id from tds_wanted_images"))
    ).image_id = ""
    done = tds("--prune", "--dry-run", "--json")
    assert json.loads(done.stdout) == {"removed": [], "bytes": 0, "strangers": [], "dry_run": True}
    assert tds("--prune").stdout == (
        "Removed: 0 files that no product shows, 0 bytes, and 0 that killed fetchers left.\n"
    )
    assert tds("--dry-run").returncode == 2
    done = tds()
    assert done.returncode == 4
    assert "14 pictures fetched" in done.stdout
    assert "Image does not exist" in done.stderr
    assert pictures.rows(
        "select distinct left(image_url, 8) from zoho.products where image_url is not null"
    ) == [("/images/",)]
