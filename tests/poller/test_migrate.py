"""Lists, details, resuming, and the comparison that finds what is wrong."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tds_cli.progress import Steps
from tds_db.progress import UNSEEN
from tds_demo.compare import Comparison, Record, compare, read_json
from tds_poller.details import fetch_taken
from tds_poller.migrate import migrate
from tds_poller.mirror import Mirror, OutOfTurnError, Run, Want
from tds_poller.pull import pull_list
from tds_poller.verify import Books, verify_entity
from tds_poller.zoho.client import Reply, ZohoClient
from tds_poller.zoho.errors import PagingError, RefusedError, UnreachableError
from tds_poller.zoho.webhooks import listed
from tds_sandbox.clock import Clock
from tds_sandbox.organisation import Organisation
from tests.db.servers import Database
from tests.poller.conftest import LENIENT, Poller, fast_sandbox, small_sandbox

SOURCES = {"products": "items", "customers": "contacts", "vendors": "contacts", "invoices": "invoices"}


def compared(poller: Poller) -> dict[str, Comparison]:
    """Every record of every entity."""
    organisation = poller.sandbox.organisation
    planted = {str(fault["id"]) for fault in organisation.planted_records()}
    results = {}
    with psycopg.connect(poller.database.conninfo) as connection:
        for entity, source in SOURCES.items():
            lists, details = (
                [read_json(line) for line in organisation.truth_lines(source, shape)]
                for shape in ("list", "detail")
            )
            kind = {"customers": "customer", "vendors": "vendor"}.get(entity)
            results[entity] = compare(
                connection,
                organisation.organization_id,
                entity,
                [
                    Record(row["id"], listed["document"], row["document"], row["deleted"])
                    for listed, row in zip(lists, details, strict=True)
                    if row["document"].get("contact_type") == kind
                ],
                planted=planted,
                unannounced=organisation.book(source).entity.silent_keys,
            )
    return results


def test_everything_arrives(migrated: Poller) -> None:
    pulled = {row.entity: (row.records, row.missing) for row in migrated.answer}
    assert next(iter(pulled)) == "organizations"
    assert set(pulled) >= SOURCES.keys()
    assert pulled["products"] == (450, 0)
    assert pulled["customers"][0] + pulled["vendors"][0] == 60
    for result in compared(migrated).values():
        assert result.differences == []
        assert result.rows == result.records > 0
    assert migrated.pages("/items") == [1, 0, 1, 2, 3], "what turns out to be long is counted, then read"
    summary = migrated.sandbox.ledger.summary()
    assert summary["repeated"] == 1, "the first page of items"
    assert summary["violations"] == []


def test_a_second_time_costs_the_lists_stock_and_prices_only(migrated: Poller) -> None:
    before = migrated.sandbox.ledger.summary()["calls"]
    # Stock by place and prices may change without a sign in the lists.
    migrated.migrate()
    paths = migrated.sandbox.ledger.by_path
    assert paths["GET /contacts/{id}"] == 60
    assert paths["GET /invoices/{id}"] == 20
    assert paths["GET /customerpayments/{id}"] == 15, "whose details have no last_modified_time"
    assert migrated.sandbox.ledger.summary()["calls"] - before == 17 + 1 + 5 + 3


def test_items_cost_a_call_for_200_and_their_stock_one_for_100(database: Database) -> None:
    with fast_sandbox(Organisation(items=618, clock=Clock(600), lenient=True)) as sandbox:
        poller = Poller(sandbox, database)
        poller.migrate()
        paths = sandbox.ledger.by_path
        assert (paths["GET /items"], paths["GET /itemdetails"], paths["GET /items/{id}"]) == (6, 7, 0)
        assert poller.pages("/items") == [1, 0, *range(1, 5)]
        with psycopg.connect(database.conninfo) as connection:
            [counts] = connection.execute(
                """select count(*), count(*) filter (where p.zoho_metadata ? 'locations') from zoho.products p"""
            )
            [(levels,)] = connection.execute("select count(distinct zoho_item_id) from zoho.stock_levels")
        tracked = counts[1]
        assert (counts[0], levels) == (618, tracked)
        assert tracked > 0


def test_pages_that_are_known_to_be_there_are_asked_for_together(poller: Poller) -> None:
    async def pull(client: ZohoClient, mirror: Mirror) -> tuple[int, int]:
        ask, under_way, most = client.get, 0, 0

        async def get(*args: Any, **options: Any) -> Reply:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                return await ask(*args, **options)
            finally:
                under_way -= 1

        client.get = get  # type: ignore[method-assign]
        run = await pull_list(client, mirror, (await mirror.endpoints())["products"])
        return run.records, most

    assert poller.run(pull) == (450, 1)
    assert poller.run(pull) == (450, 3)
    assert poller.pages("/items")[:6] == [1, 0, 1, 2, 3, 0]
    assert sorted(poller.pages("/items")[6:]) == [1, 2, 3]
    with psycopg.connect(poller.database.conninfo) as connection:
        calls = [row[0] for row in connection.execute("select calls from tds.run order by run_id")]
    assert calls == [5, 4], "each page's calls are counted once"
    # fewer are left than were known: what was asked for in vain is dropped
    for _ in range(100):
        poller.sandbox.organisation.delete("items", fire=False)
    assert poller.run(pull)[0] == 350
    assert poller.sandbox.ledger.summary()["violations"] == []


def test_bad_records_harm_no_other(database: Database) -> None:
    with small_sandbox(bad_records=12) as sandbox:
        poller = Poller(sandbox, database)
        assert all(row.missing == 0 for row in poller.migrate())
        assert [result.differences for result in compared(poller).values()] == [[], [], [], []]
        with psycopg.connect(database.conninfo) as connection:
            [(dead,)] = connection.execute("select count(*) from tds_dead_letter_queue")
        assert dead == 12


def test_a_pull_goes_on_where_it_stopped(poller: Poller) -> None:
    def stop(count: int) -> Callable[[int], None]:
        pages: list[int] = []

        def on_page(records: int) -> None:
            pages.append(records)
            if len(pages) == count:
                raise KeyboardInterrupt

        return on_page

    async def pull(client: ZohoClient, mirror: Mirror, on_page: Callable[[int], None]) -> int:
        endpoints = await mirror.endpoints()
        return (await pull_list(client, mirror, endpoints["products"], on_page=on_page)).records

    with pytest.raises(KeyboardInterrupt):
        poller.run(lambda client, mirror: pull(client, mirror, stop(5)))
    shown: list[int] = []
    assert poller.run(lambda client, mirror: pull(client, mirror, shown.append)) == 450
    assert shown == [400, 50]
    assert poller.pages("/items") == [1, 0, 1, 2, 3]


def test_an_outage_leaves_the_run_to_be_gone_on_with(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tds_poller.zoho.retry.PAUSES", (0, 0, 0))
    poller.sandbox.faults.set(next=["500"] * 4, only="^/items$")
    with pytest.raises(UnreachableError):
        poller.migrate()
    poller.sandbox.faults.set()
    assert poller.pull("products").records == 450
    with psycopg.connect(poller.database.conninfo) as connection:
        query = "select state from tds.run where entity = 'products'"
        assert connection.execute(query).fetchall() == [("complete",)]


@pytest.fixture
def few_documents(database: Database) -> Iterator[Poller]:
    """On a sandbox with pages of items, and little else."""
    organisation = Organisation(items=450, contacts=8, invoices=6, clock=Clock(600), lenient=LENIENT)
    with fast_sandbox(organisation) as sandbox:
        yield Poller(sandbox, database)


def test_a_migration_that_was_stopped_reads_no_list_again(
    few_documents: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = few_documents
    monkeypatch.setattr("tds_poller.zoho.retry.PAUSES", (0, 0, 0))
    want_volatile = Mirror.want_volatile

    async def outage(self: Mirror) -> None:
        await want_volatile(self)
        poller.sandbox.faults.set(error_500=1.0)

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "want_volatile", outage)
        with pytest.raises(UnreachableError):
            poller.migrate()
    poller.sandbox.faults.set()
    lists = {path: poller.asked(path) for path in ("/items", "/contacts", "/invoices")}
    assert all(lists.values())
    pulled = poller.migrate()
    assert {path: poller.asked(path) for path in lists} == lists
    records = {row.entity: row.records for row in pulled}
    assert (records["organizations"], records["products"]) == (1, 450)
    assert [row.missing for row in pulled] == [0] * len(pulled)
    assert poller.sandbox.ledger.summary()["repeated"] == 1, "the first page of items"
    # that one has ended: the next reads all lists
    poller.migrate()
    asked = {path: poller.pages(path)[len(before) :] for path, before in lists.items()}
    # known to have three pages, items are counted before any; the three come in any order
    assert (asked["/items"][0], sorted(asked["/items"])) == (0, [0, 1, 2, 3])
    assert [len(asked[path]) for path in ("/contacts", "/invoices")] == [
        len(lists[path]) for path in ("/contacts", "/invoices")
    ]


def test_deletions_are_proved_by_the_detail(migrated: Poller) -> None:
    change = migrated.sandbox.organisation.delete("items")
    with psycopg.connect(migrated.database.conninfo, autocommit=True) as connection:
        connection.execute(
            "select tds.want_detail('products', %s, %s)",
            [migrated.sandbox.organisation.organization_id, change.id],
        )
        migrated.migrate()
        deleted = connection.execute(
            "select zoho_item_id from zoho.products where deleted_at is not null"
        ).fetchall()
    assert deleted == [(change.id,)]
    assert compared(migrated)["products"].differences == []


def test_a_poller_that_is_at_the_same_list_is_no_hindrance(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Mirror.store_page
    twice: list[int] = []

    async def raced(self: Mirror, run: Run, page: int, *given: Any, **named: Any) -> None:
        if run.entity == "products" and run.run_id not in twice:
            twice.append(run.run_id)
            await store(self, run, page, *given, **named)  # the other was faster
        await store(self, run, page, *given, **named)

    monkeypatch.setattr(Mirror, "store_page", raced)
    poller.migrate()
    assert len(twice) == 1
    assert not any(comparison.differences for comparison in compared(poller).values())


def test_a_migration_ends_with_a_run_that_is_cancelled(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Mirror.store_page

    async def cancelled(self: Mirror, run: Run, page: int, *given: Any, **named: Any) -> None:
        if run.entity == "products":
            with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
                connection.execute("select tds.cancel_run(%s)", [run.run_id])
        await store(self, run, page, *given, **named)

    monkeypatch.setattr(Mirror, "store_page", cancelled)
    with pytest.raises(OutOfTurnError, match="is cancelled"):
        poller.migrate()


def test_a_list_that_is_refused_keeps_no_other_from_its_details(poller: Poller) -> None:
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        connection.execute("update tds.entity set api_path = '/nowhere' where entity = 'warehouses'")
        with pytest.raises(RefusedError, match="GET /nowhere: HTTP 404, code 5"):
            poller.migrate()
        details = "select count(*) > 0, bool_and(zoho_metadata ? 'line_items') from zoho.invoices"
        assert connection.execute(details).fetchone() == (True, True)
        assert connection.execute("select count(*) from tds.wanted_detail").fetchone() == (0,)
        ended = "select count(*) from tds.full_pull where finished_at is not null"
        assert connection.execute(ended).fetchone() == (0,), "it is not told to be whole"
        # what is here is kept in step, and somebody hears of what is not
        assert (connection.execute("select tds.request_scheduled(true)").fetchone() or [0])[0] > 0
        late = "select told from tds.health() where name = 'pulls_late' and state <> 'ok'"
        connection.execute("update tds.full_pull set first_ended_at = first_ended_at - interval '31 hours'")
        [[told]] = connection.execute(late).fetchall()
        assert told.startswith("the list of ")
        connection.execute("select tds.cancel_run(run_id) from tds.run where finished_at is null")
        connection.execute("update tds.entity set api_path = '/locations' where entity = 'warehouses'")
        calls = len(poller.asked("/invoices"))
        poller.migrate()
        assert connection.execute(ended).fetchone() == (1,)
        assert len(poller.asked("/invoices")) == calls


def test_a_detail_that_cannot_be_had_stays_wanted(migrated: Poller) -> None:
    async def run(client: ZohoClient, mirror: Mirror) -> int:
        with psycopg.connect(migrated.database.conninfo, autocommit=True) as connection:
            connection.execute(
                "select tds.want_detail('invoices', %s, 'not-a-number')", [mirror.organization_id]
            )
        pulled = await migrate(client, mirror, Steps(quiet=True))
        return {row.entity: row.missing for row in pulled}["invoices"]

    assert migrated.run(run) == 1
    with psycopg.connect(migrated.database.conninfo) as connection:
        assert connection.execute(
            "select zoho_id, tries, error like '%%code 5%%' from tds.wanted_detail"
        ).fetchall() == [("not-a-number", 1, True)]


@pytest.mark.parametrize("refused", ["an id that is none", "the whole call"])
def test_an_answer_for_many_that_is_refused_costs_no_neighbour_its_own(poller: Poller, refused: str) -> None:
    organization_id = poller.sandbox.organisation.organization_id
    if refused == "the whole call":
        poller.sandbox.faults.set(missing=1.0, only="^/itemdetails")
    with psycopg.connect(poller.database.conninfo, autocommit=True) as connection:
        connection.execute("select tds.want_detail('products', %s, 'none-of-them')", [organization_id])
        missing = {pulled.entity: pulled.missing for pulled in poller.migrate()}
        assert missing["products"] == 1
        wanted = connection.execute(
            "select zoho_id, error like '%%code 5%%' from tds.wanted_detail"
        ).fetchall()
        assert wanted == [("none-of-them", True)]
        query = "select count(*) from zoho.products where not zoho_metadata ? 'custom_fields'"
        assert connection.execute(query).fetchone() == (0,)
    many, each = (poller.sandbox.ledger.by_path[f"GET /item{path}"] for path in ("details", "s/{id}"))
    assert (many > 0, each > 1) == (True, refused == "the whole call")


@contextmanager
def fake_zoho(page: Callable[[int], dict[str, object]]) -> Iterator[str]:
    """A server whose only list is what `page` makes of the page number."""

    async def token(_: Request) -> JSONResponse:
        return JSONResponse({"access_token": "t", "expires_in": 3600})

    async def page_of(request: Request) -> JSONResponse:
        return JSONResponse({"code": 0, "message": "success", **page(int(request.query_params["page"]))})

    app = Starlette(
        routes=[Route("/oauth/v2/token", token, methods=["POST"]), Route("/books/v3/{module:path}", page_of)]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    web = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    while not web.started:
        time.sleep(0.002)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        web.should_exit = True
        thread.join()
        listener.close()


ROW = {"item_id": "1"}


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (lambda _: {"items": [ROW]}, "without page_context"),
        (
            lambda _: {"items": [ROW], "page_context": {"page": 1, "has_more_page": True}},
            "page 1 when asked for page 2",
        ),
        (
            lambda n: {"items": [], "page_context": {"page": n, "has_more_page": True}},
            "page 1, which is empty",
        ),
        (lambda n: {"item_list": [], "page_context": {"page": n, "has_more_page": False}}, "without items"),
        (
            lambda n: {"items": [ROW], "page_context": {"page": n, "has_more_page": "true"}},
            "without page_context",
        ),
        (
            lambda n: {"items": [ROW], "page_context": {"page": n, "has_more_page": True}},
            "more follows page 2, which is page 1 again",
        ),
        (
            lambda n: {
                "items": [{"item_id": str(n % 3)}],
                "page_context": {"page": n, "has_more_page": True},
            },
            "more follows page 4, which is page 1 again",
        ),
    ],
)
def test_lists_without_an_end_are_not_followed(
    poller: Poller, page: Callable[[int], dict[str, object]], problem: str
) -> None:
    async def pull(client: ZohoClient, mirror: Mirror) -> None:
        endpoints = await mirror.endpoints()
        await pull_list(client, mirror, endpoints["products"])

    with fake_zoho(page) as url, pytest.raises(PagingError, match=problem):
        poller.run(pull, api_base=url, accounts_base=url)
    with psycopg.connect(poller.database.conninfo) as connection:
        [(state, error)] = connection.execute("select state, error from tds.run")
    assert state == "failed"
    assert problem in error


def same_for_ever(number: int) -> dict[str, object]:
    """Of each list the one page, whichever is asked for, and always another one behind it."""
    rows = {"items": [ROW], "taxes": [{"tax_id": "1"}], "webhooks": [{"webhook_id": "1"}]}
    return {**rows, "page_context": {"page": number, "has_more_page": True}}


async def compare_taxes(client: ZohoClient, mirror: Mirror) -> None:
    """With their list."""
    endpoints = await mirror.endpoints()
    with Books(mirror.conninfo, mirror.organization_id, 0) as books:
        await verify_entity(client, books, endpoints["taxes"], mirror.organization_id, UNSEEN)


async def look_for_taxes(client: ZohoClient, mirror: Mirror) -> None:
    """In their list, which is all there is of them."""
    endpoints = await mirror.endpoints()
    wanted = {"2": Want(None, None)}
    await fetch_taken(client, mirror, endpoints["taxes"], wanted)


async def list_webhooks(client: ZohoClient, _: Mirror) -> None:
    """As the comparison of webhooks reads them."""
    await listed(client, "webhooks")


@pytest.mark.parametrize("walk", [compare_taxes, look_for_taxes, list_webhooks])
def test_whoever_walks_through_a_list_notices_that_it_has_no_end(
    poller: Poller, walk: Callable[[ZohoClient, Mirror], Awaitable[None]]
) -> None:
    async def bounded(client: ZohoClient, mirror: Mirror) -> None:
        with pytest.raises(PagingError, match="which is page 1 again"):
            await asyncio.wait_for(walk(client, mirror), 30)
        assert client.calls == 2

    with fake_zoho(same_for_ever) as url:
        poller.run(bounded, api_base=url, accounts_base=url)


@pytest.mark.parametrize("list_key", ["vendor_credits", "vendorcredits"])
def test_vendor_credits_are_listed_under_either_name(poller: Poller, list_key: str) -> None:
    async def pull(client: ZohoClient, mirror: Mirror) -> int:
        endpoints = await mirror.endpoints()
        return (await pull_list(client, mirror, endpoints["vendor_credits"])).records

    def page(number: int) -> dict[str, object]:
        return {
            list_key: [{"vendor_credit_id": "1"}],
            "page_context": {"page": number, "has_more_page": False},
        }

    with fake_zoho(page) as url:
        assert poller.run(pull, api_base=url, accounts_base=url) == 1


# What is done to the mirror of one item or invoice each, and where the comparison must point.
DAMAGE = {
    "update zoho.products set unit_price = unit_price + 0.01 where zoho_item_id = %s": "unit_price",
    "delete from zoho.products where zoho_item_id = %s": "row",
    "update zoho.products set deleted_at = now() where zoho_item_id = %s": "row",
    "update zoho.products set zoho_metadata = zoho_metadata - 'sku' where zoho_item_id = %s": "zoho_metadata.sku",
    """update zoho.products set zoho_metadata = zoho_metadata || '{"sku": 1, "more": 2}'
        where zoho_item_id = %s""": "zoho_metadata.more",
    """update zoho.invoice_line_items set quantity = quantity + 1
        where line_number = 1 and zoho_invoice_id = %s""": "invoice_line_items[1].quantity",
    """delete from zoho.invoice_line_items
        where line_number = 1 and zoho_invoice_id = %s""": "invoice_line_items",
    "update zoho.invoices set customer_id = null where zoho_invoice_id = %s": "invoices.customer_id",
}


def test_the_comparison_finds_damage(migrated: Poller) -> None:
    books = migrated.sandbox.organisation.books
    expected = {}
    with psycopg.connect(migrated.database.conninfo, autocommit=True) as connection:
        for number, (damage, path) in enumerate(DAMAGE.items()):
            zoho_id = books["items" if "zoho_item_id" in damage else "invoices"].records[number].id
            connection.execute(damage.encode(), [zoho_id])
            expected[zoho_id] = path
    found: dict[str, set[str]] = {}
    for result in compared(migrated).values():
        for difference in result.differences:
            found.setdefault(difference.zoho_id, set()).add(difference.path)
    for zoho_id, path in expected.items():
        assert path in found.pop(zoho_id)
    # A product that is gone leaves links that lead nowhere, and that is all.
    assert set().union(*found.values()) <= {"invoice_line_items.product_id"}
