"""What a forged, shifted or empty answer may do to the mirror: nothing that lasts (docs/evidence.md)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import psycopg

from tds_poller.details import fetch_details
from tds_poller.mirror import Endpoint, Mirror
from tds_poller.pull import pull_list
from tds_poller.zoho.client import Reply, ZohoClient

Ask = Callable[..., Any]
Run = Callable[[Callable[[ZohoClient, Mirror], Awaitable[None]]], None]

Met = dict[str, object]


class Adversary:
    """Four attacks on a mirror that agrees with the sandbox; each says how it was met.

    Args:
        connection: to the mirror.
        ask: a control page of the sandbox.
        run: runs something with a client and a mirror.
        process: has what came processed.
        organization_id: whose mirror it is.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        ask: Ask,
        run: Run,
        process: Callable[[], None],
        organization_id: str,
    ) -> None:
        self._connection = connection
        self._ask = ask
        self._run = run
        self._process = process
        self._organization_id = organization_id

    def attacks(self) -> list[Met]:
        """All of them, one after another."""
        # the sandbox's hours are seconds
        self._connection.execute(
            """update tds.setting set value = '1'
                where name in ('second_look_seconds', 'deletion_probe_seconds')"""
        )
        return [self.forged_stamp(), self.spell_of_404s(), self.shifted_page(), self.empty_list()]

    def forged_stamp(self) -> Met:
        """A webhook from the year 2099, and then one read of its record."""
        query = """select zoho_item_id, name from zoho.products
                    where deleted_at is null order by zoho_item_id limit 1"""
        [(item_id, name)] = self._connection.execute(query).fetchall()
        forged = {"item_id": item_id, "name": "Forged", "last_modified_time": "2099-01-01T00:00:00Z"}
        self._connection.execute(
            "select tds.receive('products', %b, %s)",
            [json.dumps({"item": forged}).encode(), self._organization_id],
        )
        self._process()
        shown = self._name(item_id)
        self._run(self._fetch("products"))
        self._process()
        return _met(
            "a webhook's stamp of 2099",
            f"shown as {shown!r} until Zoho was asked, then {self._name(item_id)!r} again",
            ok=(shown, self._name(item_id)) == ("Forged", name),
        )

    def spell_of_404s(self) -> Met:
        """Zoho answers 404 for every payment."""
        living = "select count(*) from zoho.customer_payments where deleted_at is null"
        before = self._count(living)
        self._ask("/faults", missing=1.0, only=r"^/customerpayments/\d+$")
        self._connection.execute("select tds.want_again('payments', %s)", [self._organization_id])
        self._run(self._fetch("payments"))
        self._process()
        during, held = self._count(living), self._count("select count(*) from tds_held_deletions")
        self._ask("/faults", seed=1)
        for _ in range(2):  # one that was held back, and then all
            self._connection.execute("select pg_sleep(1.1)")
            self._run(self._fetch("payments"))
            self._process()
        after = self._count("select count(*) from tds_held_deletions")
        return _met(
            f"404 for all {before} payments",
            f"{during} still there, {held} deletions held back, {after} once it was over",
            ok=before == during and held > 0 and after == 0 and before == self._count(living),
        )

    def shifted_page(self) -> Met:
        """An invoice on the first page is deleted before the second is read."""

        async def pull(client: ZohoClient, mirror: Mirror) -> None:
            ask = client.get
            shifted = asyncio.Event()

            async def get(path: str, parameters: Mapping[str, str] | None = None, **options: Any) -> Reply:
                wanted = parameters or {}
                is_page = path == "/invoices" and "response_option" not in wanted
                if is_page and wanted.get("page") != "1":
                    await shifted.wait()
                reply = await ask(path, parameters, **options)
                if is_page and not shifted.is_set():
                    self._ask("/edit", entities=["invoices"], count=0, delete=1, fire=False)
                    shifted.set()
                return reply

            client.get = get  # type: ignore[assignment, method-assign]
            await pull_list(client, mirror, (await mirror.endpoints())["invoices"])

        self._run(pull)
        self._process()
        query = """select state, records, passes from tds.run
                    where entity = 'invoices' order by run_id desc limit 1"""
        [(state, records, passes)] = self._connection.execute(query).fetchall()
        return _met(
            "an invoice deleted while the list was read",
            f"noticed by Zoho's count; {state} after {passes} passes, {records} records",
            ok=state == "complete" and passes > 1,
        )

    def empty_list(self) -> Met:
        """The list of vendors comes without vendors."""
        before = self._count("select count(*) from zoho.vendors where deleted_at is null")
        self._ask("/faults", empty=1.0, only="^/contacts$")

        async def pull(client: ZohoClient, mirror: Mirror) -> None:
            await pull_list(client, mirror, (await mirror.endpoints())["vendors"])

        self._run(pull)
        self._ask("/faults", seed=1)
        self._process()
        query = "select state from tds.run where entity = 'vendors' order by run_id desc limit 1"
        [(state,)] = self._connection.execute(query).fetchall()
        after = self._count("select count(*) from zoho.vendors where deleted_at is null")
        return _met(
            "a list without its records",
            f"{state}; {after} of {before} vendors still there",
            ok=(state, before) == ("partial", after),
        )

    def _fetch(self, entity: str) -> Callable[[ZohoClient, Mirror], Awaitable[None]]:
        async def fetch(client: ZohoClient, mirror: Mirror) -> None:
            endpoint: Endpoint = (await mirror.endpoints())[entity]
            await fetch_details(client, mirror, endpoint)

        return fetch

    def _name(self, item_id: str) -> str:
        query = "select name from zoho.products where zoho_item_id = %s"
        [(name,)] = self._connection.execute(query, [item_id]).fetchall()
        return str(name)

    def _count(self, query: str) -> int:
        [(count,)] = self._connection.execute(query.encode()).fetchall()
        return int(count)


def _met(attack: str, how: str, *, ok: bool) -> Met:
    return {"attack": attack, "met": how, "": "as it should be" if ok else "NOT MET", "ok": ok}
