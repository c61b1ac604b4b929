"""The database as the poller sees it: one method a statement, each a transaction of its own."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import BaseRowFactory, class_row, scalar_row, tuple_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from db.connect import application_name
from poller.client import Reply

log = logging.getLogger(__name__)
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An entity as `tds.entity` describes it."""

    entity: str
    queue: str
    api_path: str
    list_key: str
    record_key: str
    id_key: str
    list_filter: Mapping[str, str]
    paged: bool
    bulk_detail_path: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """A pull of one list as `tds.run` records it."""

    run_id: int
    entity: str
    state: str
    next_page: int
    pages: int
    records: int
    error: str | None


class Mirror:
    """A pool of connections on behalf of one organisation. Use as an async context manager.

    Args:
        conninfo: libpq connection string.
        organization_id: whose data it is.
        connections: how many at most.
    """

    def __init__(self, conninfo: str, organization_id: str, *, connections: int = 4) -> None:
        self.organization_id = organization_id
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            conninfo,
            min_size=1,
            max_size=connections,
            open=False,
            configure=_log_notices,
            kwargs={"autocommit": True, "application_name": application_name("poller")},
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=True, timeout=30)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()

    async def endpoints(self) -> dict[str, Endpoint]:
        """Every entity the API has a list of, in the order in which they should be pulled."""
        rows = await self._rows(
            class_row(Endpoint),
            """select entity, queue, api_path, list_key, record_key, id_key, list_filter, paged,
                      bulk_detail_path
                 from tds.entity where api_path <> '' order by priority, entity""",
        )
        return {row.entity: row for row in rows}

    async def start_run(self, entity: str, *, restart: bool = False) -> Run:
        """Begins a run, or goes on with the unfinished one unless told to `restart`."""
        options = Jsonb({"restart": restart})
        query = "select tds.start_run(%b, %b, %b)"
        return await self.run(await self._row(scalar_row, query, entity, self.organization_id, options))

    async def run(self, run_id: int) -> Run:
        """A run as it stands."""
        return await self._row(
            class_row(Run),
            "select run_id, entity, state, next_page, pages, records, error from tds.run where run_id = %b",
            run_id,
        )

    async def store_page(self, run: Run, page: int, reply: Reply, has_more: bool, records: int) -> None:
        """Stores one page of a list and moves the run's cursor past it, both or neither.

        The page that nothing follows completes the run.
        """
        await self._row(
            scalar_row,
            "select tds.store_page(%b, %b, %b, %b, %b, %b)",
            *(run.run_id, page, reply.body, reply.sent_at, has_more, records),
        )

    async def fail_run(self, run: Run, error: str) -> None:
        """Ends a run that cannot be gone on with."""
        await self._row(scalar_row, "select tds.finish_run(%b, 'failed', %b)", run.run_id, error)

    async def take_details(self, entity: str, limit: int) -> Mapping[str, datetime | None]:
        """Leases up to `limit` records whose detail is wanted, for two minutes.

        Returns:
            Their ids, and the version of what asked for each.
        """
        return dict(
            await self._rows(
                tuple_row,
                "select zoho_id, modified_at from tds.take_details(%b, %b, %b)",
                *(entity, self.organization_id, limit),
            )
        )

    async def store_detail(
        self,
        entity: str,
        body: bytes,
        sent_at: datetime,
        event: str = "upsert",
        modified_at: datetime | None = None,
    ) -> None:
        """Stores a detail; with event `delete` the proof that there is none any more.

        Args:
            entity: of what.
            body: as it came.
            sent_at: when it was asked for.
            event: `upsert` or `delete`.
            modified_at: the version of what asked for it, which it inherits if it has none itself.
        """
        headers = {"modified_at": modified_at.isoformat()} if modified_at else None
        await self._row(
            scalar_row,
            """select status from tds.receive(entity => %b, body => %b, organization_id => %b, event => %b,
                                              observed_at => %b, headers => %b,
                                              source => 'poller', shape => 'detail')""",
            *(entity, body, self.organization_id, event, sent_at, headers and Jsonb(headers)),
        )

    async def detail_failed(self, entity: str, zoho_id: str, error: str) -> None:
        """Records that a detail could not be had."""
        await self._row(
            scalar_row,
            "select tds.detail_failed(%b, %b, %b, %b)",
            *(entity, self.organization_id, zoho_id, error),
        )

    async def take_images(self, limit: int) -> list[tuple[str, str]]:
        """Leases up to `limit` wanted pictures for two minutes: products' ids, and the documents."""
        return await self._rows(
            tuple_row,
            "select zoho_item_id, image_document_id from tds.take_images(%b, %b)",
            *(self.organization_id, limit),
        )

    async def image_fetched(
        self, zoho_item_id: str, document_id: str, *, sha256: str, content_type: str, size: int, url: str
    ) -> None:
        """Records that a picture is stored, and shows it at its product."""
        await self._row(
            scalar_row,
            "select tds.image_fetched(%b, %b, %b, %b, %b, %b, %b)",
            *(self.organization_id, zoho_item_id, document_id, sha256, content_type, size, url),
        )

    async def image_failed(self, zoho_item_id: str, document_id: str, error: str, *, gone: bool) -> None:
        """Records that a picture could not be had: for now, or (gone) until another takes its place."""
        await self._row(
            scalar_row,
            "select tds.image_failed(%b, %b, %b, %b, %b)",
            *(self.organization_id, zoho_item_id, document_id, error, gone),
        )

    async def wanted_images(self) -> int:
        """How many pictures are wanted."""
        query = "select count(*) from tds_wanted_images where organization_id = %b"
        return int(await self._row(scalar_row, query, self.organization_id))

    async def drain(self, queue: str | None = None) -> Mapping[str, int]:
        """Processes what waits in a queue, or in all; see `db.worker.drain`."""
        return await self._row(scalar_row, "call tds.process_batch(%b, 1000, null)", queue)

    async def newest_event(self) -> int:
        """The newest of the events that are not finished, 0 if there is none."""
        return int(await self._row(scalar_row, "select coalesce(max(inbox_id), 0) from tds.inbox_open"))

    async def is_processed(self, up_to: int) -> bool:
        """Whether the events up to this one are finished; parked retries are not waited for."""
        query = """select not exists (select from tds.inbox_open
                                      where inbox_id <= %b and retry_at is null)"""
        return bool(await self._row(scalar_row, query, up_to))

    async def wanted(self, entity: str) -> int:
        """How many details are wanted."""
        query = "select count(*) from tds.wanted_detail where organization_id = %b and entity = %b"
        return int(await self._row(scalar_row, query, self.organization_id, entity))

    async def open_wants(self, entity: str) -> Mapping[str, datetime]:
        """The ids of wanted details that have not failed yet, and since when they are wanted."""
        return dict(
            await self._rows(
                tuple_row,
                """select zoho_id, wanted_at from tds.wanted_detail
                    where organization_id = %b and entity = %b and error is null""",
                *(self.organization_id, entity),
            )
        )

    async def _rows(self, factory: BaseRowFactory[Row], query: str, *parameters: object) -> list[Row]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=factory) as cursor:
            await cursor.execute(query, parameters, binary=True)
            return await cursor.fetchall()

    async def _row(self, factory: BaseRowFactory[Row], query: str, *parameters: object) -> Row:
        [row] = await self._rows(factory, query, *parameters)
        return row


async def _log_notices(connection: AsyncConnection[Any]) -> None:
    connection.add_notice_handler(lambda notice: log.warning("%s", notice.message_primary))
