"""The database as the poller sees it: one method a statement, each a transaction of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import psycopg
from psycopg.errors import Diagnostic
from psycopg.rows import BaseRowFactory, class_row, dict_row, scalar_row, tuple_row
from psycopg.types.json import Jsonb

from tds_db import worker
from tds_db.connect import LASTING, pool_async
from tds_db.errors import TdsError, notice_text
from tds_poller.tasks import ended
from tds_poller.zoho.client import PER_PAGE
from tds_poller.zoho.errors import MovingError

log = logging.getLogger(__name__)
Row = TypeVar("Row")

OUT_OF_TURN = "ZB003"


class OutOfTurnError(TdsError):
    """A page of a run that another process goes on with, or that was cancelled: it is not stored."""


class Want(NamedTuple):
    """A wanted detail: the version of what asked for it, and the run it belongs to, if any."""

    modified_at: datetime | None
    run_id: int | None


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
    volatile_details: bool
    counted: bool
    has_details: bool


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
    options: Mapping[str, Any]
    since: datetime | None
    filtered: bool
    is_pass: bool
    passes: int
    counted: int | None
    requested_by: str | None = None

    @property
    def is_sweep(self) -> bool:
        """Whether it may wait for its next time, if nothing speaks for it."""
        return bool(self.options.get("sweep"))

    @property
    def is_by_the_clock(self) -> bool:
        """Whether the clock asked for a whole list: everything else goes first."""
        return self.is_sweep or (self.requested_by == "the clock" and "incremental" not in self.options)

    @property
    def per_page(self) -> int:
        """Records a page; of stock, batch_size is about the details."""
        return PER_PAGE if self.entity == "stock" else int(self.options.get("batch_size", PER_PAGE))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: records stored, details fetched and still wanted."""

    entity: str
    records: int
    details: int
    wanted: int
    is_listed: bool
    is_finished: bool


@dataclass(frozen=True, slots=True)
class Migration:
    """How a migration stands; see the view tds_migrations.

    `ends_at` is by the clock of `at`.
    """

    at: datetime
    lists_read: int
    lists: int
    records: int
    details_fetched: int
    calls_done: int
    calls_to_do: int
    calls_left_today: int | None
    minutes_left: float | None
    days_left: int | None
    ends_at: datetime | None
    wait: str | None
    waits_for: str | None
    waits_until: datetime | None


@dataclass(frozen=True, slots=True)
class ReconcileTask:
    """One thing that Zoho is asked for a reconciliation; `report` is None where documents are read anew."""

    reconcile_id: int
    task: int
    report: str | None
    path: str
    parameters: Mapping[str, str]
    paged: bool


# Until a connection that does not answer is given up; a drain has a worker's.
ANSWER_SECONDS = 60.0
TELL_SECONDS = 60.0  # between two warnings of the same


class Mirror:
    """A pool of connections on behalf of one organisation. Use as an async context manager.

    Args:
        conninfo: libpq connection string.
        organization_id: whose data it is.
        connections: how many at most, and as many more for drains at once.
    """

    def __init__(self, conninfo: str, organization_id: str, *, connections: int = 4) -> None:
        self.organization_id = organization_id
        self.conninfo = conninfo

        def tell(notice: Diagnostic) -> None:
            log.warning("%s", notice_text(notice))

        self._pool = pool_async(
            "poller",
            conninfo,
            answer_seconds=ANSWER_SECONDS,
            settings=LASTING,
            on_notice=tell,
            min_size=1,
            max_size=connections,
        )
        # A session's first drain takes many times as long as the next: they share few, opened as needed.
        # A batch that takes longer than a worker's is cancelled by the server and comes back in halves.
        self._drain_pool = pool_async(
            "poller",
            conninfo,
            answer_seconds=worker.ANSWER_SECONDS,
            settings={**LASTING, "statement_timeout": f"{worker.CALL_SECONDS}s"},
            on_notice=tell,
            min_size=0,
            max_size=connections,
        )
        self._may_drain: bool | None = None
        self._tell_at = 0.0
        self._beside: Mirror | None = None
        self._drains: dict[str | None, asyncio.Task[Mapping[str, int]]] = {}

    def beside(self, organization_id: str) -> Self:
        """The same for another organisation: it shares the connections, the signs of life and the drains."""
        other = copy(self)
        other.organization_id = organization_id
        other._beside = self
        return other

    async def __aenter__(self) -> Self:
        if self._beside is None:
            await self._pool.open(wait=True, timeout=30)
            await self._drain_pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beside is None:
            await ended(*self._drains.values())
            # a drain is work of this program's, and the last of it; nobody is told of a database that is away
            if not isinstance(error, psycopg.OperationalError):
                with suppress(psycopg.Error):
                    await self.stop()
            await self._drain_pool.close()
            await self._pool.close()

    async def beat(self) -> bool:
        """Tells that this program works; returns whether it is to end, for another one to take its place."""
        if self._beside is not None:
            return False  # that one tells
        return bool(await self._row(scalar_row, "select tds.beat(%b)", datetime.now(UTC)))

    async def stop(self) -> None:
        """Tells that this program stops in order."""
        await self._row(scalar_row, "select tds.stop_program()")

    async def note_refusal(self, refused: str | None) -> None:
        """Notes why nothing can be asked for this organisation; None: it can."""
        await self._row(scalar_row, "select tds.note_refusal(%b, %b)", self.organization_id, refused)

    async def organizations_with_work(self) -> list[str]:
        """Those for which a pull or a detail is to be fetched now."""
        return await self._rows(scalar_row, "select * from tds.organizations_with_work()")

    async def endpoints(self) -> dict[str, Endpoint]:
        """Every entity the API has a list of, in the order in which they should be pulled."""
        rows = await self._rows(
            class_row(Endpoint),
            """select entity, queue, api_path, list_key, record_key, id_key,
                      tds.list_parameters(entity, %b) as list_filter, paged, bulk_detail_path,
                      volatile_details, counted, detail_key is not null as has_details
                 from tds.entity where api_path <> '' order by priority, entity""",
            self.organization_id,
        )
        return {row.entity: row for row in rows}

    async def start_run(self, entity: str, session: int, *, restart: bool = False) -> Run:
        """Begins a run of this session's, or goes on with the unfinished one unless told to `restart`."""
        options = Jsonb({"restart": restart, "session": session})
        query = "select tds.start_run(%b, %b, %b)"
        return await self.run(await self._row(scalar_row, query, entity, self.organization_id, options))

    async def begin_full_pull(self, *, restart: bool) -> datetime:
        """Begins a migration of everything, or goes on with a stopped one; returns when it began."""
        query = "select tds.begin_full_pull(%b, %b)"
        began: datetime = await self._row(scalar_row, query, self.organization_id, restart)
        return began

    async def pulled_since(self, entity: str, since: datetime) -> int | None:
        """How many records a list had, if it was pulled whole since then."""
        query = "select tds.pulled_since(%b, %b, %b)"
        records: int | None = await self._row(scalar_row, query, entity, self.organization_id, since)
        return records

    async def migration(self) -> Migration | None:
        """How the newest migration stands; None if there was none."""
        rows = await self._rows(
            class_row(Migration),
            """select tds.now() as at, lists_read, lists, records, details_fetched, calls_done, calls_to_do,
                      calls_left_today, minutes_left::float8, days_left, ends_at, wait, waits_for, waits_until
                 from tds.migration_now(%b)""",
            self.organization_id,
        )
        return rows[0] if rows else None

    async def migrated(self, entity: str) -> int:
        """How many details of an entity the migration under way has fetched, those before a stop included."""
        query = "select tds.migrated(%b, %b)"
        return int(await self._row(scalar_row, query, self.organization_id, entity))

    async def start_clock(self) -> None:
        """Has the clock ask for the organisation, though its migration lacks what Zoho refuses."""
        await self._row(scalar_row, "select tds.start_clock(%b)", self.organization_id)

    async def finish_full_pull(self) -> None:
        """The next migration reads all lists anew."""
        await self._row(scalar_row, "select tds.finish_full_pull(%b)", self.organization_id)

    async def records_before(self, run: Run) -> int:
        """How many records the list had when it was last read whole, 0 if it never was."""
        query = "select tds.records_before(%b, %b, %b)"
        return int(await self._row(scalar_row, query, run.entity, self.organization_id, run.run_id))

    async def run(self, run_id: int) -> Run:
        """A run as it stands."""
        return await self._row(
            class_row(Run),
            """select run_id, entity, state, next_page, pages, records, error, options, since, filtered,
                      is_pass, passes, counted, requested_by
                 from tds.run where run_id = %b""",
            run_id,
        )

    async def store_page(
        self, run: Run, page: int, body: bytes, sent_at: datetime, *, has_more: bool, records: int, calls: int
    ) -> None:
        """Stores one page of a list and moves the run's cursor past it, both or neither.

        The page that nothing follows ends the list.

        Args:
            run: whose page it is.
            page: its number.
            body: what was answered, as it came.
            sent_at: when it was asked for.
            has_more: whether another page follows.
            records: how many records it has.
            calls: how many calls it took to get it.

        Raises:
            OutOfTurnError: another process goes on with the run, or it was cancelled.
        """
        try:
            await self._row(
                scalar_row,
                "select tds.store_page(%b, %b, %b, %b, %b, %b, %b)",
                *(run.run_id, page, body, sent_at, has_more, records, calls),
            )
        except psycopg.Error as error:
            if error.sqlstate != OUT_OF_TURN:
                raise
            raise OutOfTurnError(f"{error.diag.message_detail}.", "See: tds status") from error

    async def request_pull(self, entity: str, options: Mapping[str, Any], *, restart: bool = False) -> int:
        """Asks for a pull and returns its run; see `tds.request_pull`.

        Args:
            entity: of what, or stock.
            options: see `tds.pull_option_names`.
            restart: cancel the pulls of it that have not ended.
        """
        if restart:
            query = """select tds.cancel_run(run_id) from tds.run
                        where organization_id = %b and entity = %b and finished_at is null order by run_id"""
            await self._rows(scalar_row, query, self.organization_id, entity)
        query = "select tds.request_pull(%b, %b, %b)"
        run_id = await self._row(scalar_row, query, entity, Jsonb(dict(options)), self.organization_id)
        return int(run_id)

    async def pull_option_names(self, entity: str) -> Sequence[str]:
        """The options that a pull of an entity takes."""
        names: Sequence[str] = await self._row(scalar_row, "select tds.pull_option_names(%b)", entity)
        return names

    async def progress(self, run_ids: Sequence[int]) -> list[Progress]:
        """How far these runs are."""
        return await self._rows(
            class_row(Progress),
            """select r.entity, r.records, r.details, r.listed_at is not null as is_listed,
                      r.finished_at is not null as is_finished,
                      (select count(*) from tds.wanted_detail w
                        where w.run_id = r.run_id and not tds.is_answered(w))::int as wanted
                 from tds.run r where r.run_id = any (%b) order by r.run_id""",
            list(run_ids),
        )

    async def begin_pull(self, run_id: int, session: int) -> str:
        """Begins a requested run, or says how it stands; see `tds.begin_pull`."""
        return str(await self._row(scalar_row, "select tds.begin_pull(%b, %b)", run_id, session))

    async def fall_back(self, run: Run) -> None:
        """Notes that the API has ignored the run's filter: its whole list is read, from page 1 on."""
        await self._row(scalar_row, "select tds.fall_back(%b)", run.run_id)

    async def note_count(self, run: Run, records: int | None, at: datetime, calls: int) -> None:
        """Notes how many records the run's list has, None if Zoho does not say: it is read from page 1 on."""
        query = "select tds.note_count(%b, %b, %b, %b)"
        await self._row(scalar_row, query, run.run_id, records, at, calls)

    async def put_off(self, run: Run) -> bool:
        """Ends a sweep that was counted, unread, if nothing speaks for reading it; whether it did."""
        return bool(await self._row(scalar_row, "select tds.put_off(%b)", run.run_id))

    async def put_aside(self, run_id: int) -> int:
        """Leaves a run that Zoho fails at while it answers all else; for how many seconds."""
        return int(await self._row(scalar_row, "select tds.put_aside(%b)", run_id))

    async def show_pulls(self) -> int:
        """Has the runs that were put aside gone on with at once; how many."""
        return int(await self._row(scalar_row, "select tds.show_pulls(%b)", self.organization_id))

    async def pause_sweep(self, run_id: int, error: str) -> None:
        """Puts a run that may not go on now back among those that wait, with the pages it has."""
        await self._row(scalar_row, "select tds.pause_sweep(%b, %b)", run_id, error)

    async def is_live_wanted(self) -> bool:
        """Whether details may be taken that no pull wants, but a webhook, a hint or an operator."""
        query = "select tds.is_live_wanted(%b)"
        return bool(await self._row(scalar_row, query, self.organization_id))

    async def take_feed(self) -> tuple[str, str, date, date, int] | None:
        """A feed of hints that is to be read now; see `tds.take_feed`."""
        query = "select feed, api_path, from_day, to_day, pages from tds.take_feed(%b)"
        rows = await self._rows(tuple_row, query, self.organization_id)
        return rows[0] if rows else None

    async def note_feed_page(self, feed: str, body: bytes, from_day: date, to_day: date) -> str | None:
        """Notes what a page of a feed names; what is wrong with it, None if nothing is."""
        query = "select tds.note_feed_page(%b, %b, %b, %b, %b)"
        problem: str | None = await self._row(
            scalar_row, query, self.organization_id, feed, body, from_day, to_day
        )
        return problem

    async def end_feed(self, feed: str, began_at: datetime, error: str | None, *, refused: bool) -> int:
        """Ends the reading of a feed, and asks for what it named; how many records that are."""
        query = "select tds.end_feed(%b, %b, %b, %b, %b)"
        asked = await self._row(scalar_row, query, self.organization_id, feed, began_at, error, refused)
        return int(asked)

    async def zoho_now(self) -> datetime:
        """Now by Zoho's clock."""
        now: datetime = await self._row(scalar_row, "select tds.zoho_now(%b)", self.organization_id)
        return now

    async def renewed(self, endpoint: Endpoint) -> Endpoint:
        """The list without what has been refused of its parameters by now."""
        query = "select tds.list_parameters(%b, %b)"
        left = await self._row(scalar_row, query, endpoint.entity, self.organization_id)
        return replace(endpoint, list_filter=left)

    async def leave_off(self, endpoint: Endpoint, parameter: str, message: str) -> Endpoint:
        """Notes that the organisation's edition refuses a parameter of a list; the list without it."""
        query = "select tds.leave_off(%b, %b, %b, %b)"
        left = await self._row(scalar_row, query, endpoint.entity, self.organization_id, parameter, message)
        return replace(endpoint, list_filter=left)

    async def asks_inventory(self) -> bool:
        """Whether the Inventory API is worth asking where Books tells no stock by place."""
        return bool(await self._row(scalar_row, "select tds.asks_inventory(%b)", self.organization_id))

    async def no_inventory(self, message: str) -> None:
        """Notes that the Inventory API refuses us: it is not asked again."""
        await self._row(scalar_row, "select tds.no_inventory(%b, %b)", self.organization_id, message)

    async def note_progress(
        self, run_id: int, calls: int, details: int = 0, error: str | None = None
    ) -> None:
        """Adds calls and fetched details to a run's account; `error` is what it waits for."""
        query = "select tds.note_progress(%b, %b, %b, %b)"
        await self._row(scalar_row, query, run_id, calls, details, error)

    async def settle_pulls(self) -> int:
        """Ends the runs whose pages are processed and whose details are there; how many."""
        return int(await self._row(scalar_row, "select tds.settle_pulls(%b)", self.organization_id))

    async def open_pulls(self) -> int:
        """How many requested runs have not ended."""
        query = """select count(*) from tds.run
                    where organization_id = %b and finished_at is null and requested_at is not null"""
        return int(await self._row(scalar_row, query, self.organization_id))

    async def open_runs(self) -> Sequence[int]:
        """The runs that have not ended."""
        query = (
            "select run_id from tds.run where organization_id = %b and finished_at is null order by run_id"
        )
        runs: Sequence[int] = await self._rows(scalar_row, query, self.organization_id)
        return runs

    async def refusal(self) -> str | None:
        """Why no pulls are to be done now; None: they are.

        Raises:
            MovingError: the organisation is being moved to another shard.
        """
        query = "select tds.bulk_sync_refusal(), tds.is_moving(%b)"
        refusal, is_moving = await self._row(tuple_row, query, self.organization_id)
        if is_moving:
            told = f"Organisation {self.organization_id} is being moved to another shard, or has been."
            raise MovingError(told, "Next: tds shard list")
        said: str | None = refusal
        return said

    async def setting(self, name: str) -> int:
        """A setting that is a whole number."""
        return int(await self._row(scalar_row, "select tds.setting_int(%b)", name))

    async def fail_run(self, run: Run, error: str) -> None:
        """Ends a run that cannot be gone on with."""
        await self._row(scalar_row, "select tds.finish_run(%b, 'failed', %b)", run.run_id, error)

    async def take_details(self, entity: str, limit: int, session: int) -> Mapping[str, Want]:
        """Leases up to `limit` records whose detail is wanted: for two minutes, while the session lives.

        Returns:
            Their ids, and what is known of each want.
        """
        rows = await self._rows(
            tuple_row,
            "select zoho_id, modified_at, run_id from tds.take_details(%b, %b, %b, %b)",
            *(entity, self.organization_id, limit, session),
        )
        return {zoho_id: Want(modified_at, run_id) for zoho_id, modified_at, run_id in rows}

    async def want_volatile(self) -> int:
        """Asks once a migration for all details that change without a sign in their list; how many."""
        return int(await self._row(scalar_row, "select tds.want_volatile(%b)", self.organization_id))

    async def wanting(self) -> Mapping[str, int]:
        """The entities of which details may be taken now, and how many at once; see `tds.details_to_take`."""
        query = "select entity, at_most from tds.details_to_take(%b)"
        return dict(await self._rows(tuple_row, query, self.organization_id))

    async def store_detail(
        self,
        entity: str,
        zoho_ids: Sequence[str],
        body: bytes,
        sent_at: datetime,
        *,
        event: str = "upsert",
        modified_at: datetime | None = None,
    ) -> None:
        """Stores the details of some records; with event `delete` the proof that there is none any more.

        Args:
            entity: of what.
            zoho_ids: the records that it answers for.
            body: as it came.
            sent_at: when it was asked for.
            event: `upsert` or `delete`.
            modified_at: the version of what asked for it, which it inherits if it has none itself.
        """
        await self._row(
            scalar_row,
            "select tds.store_detail(%b, %b, %b, %b, %b, %b, %b)",
            *(entity, self.organization_id, list(zoho_ids), body, sent_at, event, modified_at),
        )

    async def store_organization(self, run: Run, body: bytes, sent_at: datetime, calls: int) -> None:
        """Stores the organisation itself and completes the run that was for it, both or neither.

        Args:
            run: whose list it is.
            body: as it came.
            sent_at: when it was asked for.
            calls: how many calls it took.
        """
        await self._row(
            tuple_row,
            """select tds.store_detail(%b, %b, '{}', %b, %b), tds.note_progress(%b, %b, 1),
                      tds.finish_run(%b, 'complete')""",
            *(run.entity, self.organization_id, body, sent_at, run.run_id, calls, run.run_id),
        )

    async def repair(self, entity: str, zoho_ids: Sequence[str], asked_by: str | None) -> int:
        """Asks for records whose answers are to be written whatever is stored; see `tds.repair_records`."""
        query = "select tds.repair_records(%b, %b, %b, %b)"
        parameters = [entity, list(zoho_ids), self.organization_id, asked_by]
        return int(await self._row(scalar_row, query, *parameters))

    async def unwritten(self, entity: str, zoho_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Those of these records that are not as Zoho tells them, and why: the rows of `tds.unwritten()`."""
        query = "select * from tds.unwritten(%b, %b, %b)"
        return await self._rows(dict_row, query, entity, self.organization_id, list(zoho_ids))

    async def not_living(self, entity: str, zoho_ids: Sequence[str]) -> list[str]:
        """Those of these records that have no row, or one that is marked deleted."""
        query = "select tds.not_living(%b, %b, %b)"
        return list(await self._row(scalar_row, query, entity, self.organization_id, list(zoho_ids)))

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

    async def keep_image_file(self, sha256: str, size: int) -> None:
        """Tells that a file is about to be stored, so that nobody removes it."""
        await self._row(tuple_row, "select tds.keep_image_file(%b, %b)", sha256, size)

    async def unneeded_image_files(self) -> list[tuple[str, int]]:
        """Names and sizes of all files that nothing has shown for their period."""
        return await self._rows(tuple_row, "select sha256, bytes from tds.unneeded_image_files(null)")

    async def known_image_files(self) -> set[str]:
        """Names of the files that the database knows of."""
        rows: list[str] = await self._rows(scalar_row, "select tds.known_image_files()")
        return set(rows)

    async def remove_image_files(self, remove: Callable[[str], object], limit: int) -> list[tuple[str, int]]:
        """Removes some of the files that nothing has shown for their period; returns their names and sizes.

        Args:
            remove: removes one by its name. Should it fail, the files are unneeded still.
            limit: how many at most.

        Raises:
            OSError: `remove` does.
        """
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                "select sha256, bytes from tds.unneeded_image_files(%b)", [limit], binary=True
            )
            found: list[tuple[str, int]] = [(row[0], row[1]) for row in await cursor.fetchall()]
            for name, _ in found:
                await asyncio.to_thread(remove, name)
            await connection.execute("select tds.image_files_removed(%b)", [[name for name, _ in found]])
        return found

    async def image_failed(self, zoho_item_id: str, document_id: str, error: str, *, gone: bool) -> None:
        """Records that a picture could not be had: for now, or (gone) until another takes its place."""
        await self._row(
            scalar_row,
            "select tds.image_failed(%b, %b, %b, %b, %b)",
            *(self.organization_id, zoho_item_id, document_id, error, gone),
        )

    async def next_reconcile(self, session: int, run_id: int | None) -> ReconcileTask | None:
        """The next task of a reconciliation, None if there is none; see `tds.next_reconcile`."""
        query = "select * from tds.next_reconcile(%b, %b, %b)"
        found = await self._rows(class_row(ReconcileTask), query, self.organization_id, session, run_id)
        return found[0] if found else None

    async def reconcile_told(
        self, task: ReconcileTask, bodies: Sequence[bytes], error: str | None, since: datetime, calls: int
    ) -> None:
        """Tells what Zoho answered to a task, or why it did not; see `tds.reconcile_told`."""
        query = "select tds.reconcile_told(%b, %b, %b::bytea[], %b, %b, %b)"
        values = (task.reconcile_id, task.task, list(bodies), error, since, calls)
        await self._row(scalar_row, query, *values)

    async def reconcile_pulls(self, run_id: int) -> Sequence[int] | None:
        """The pulls that a reconciliation waits for, None if it is over; see `tds.reconcile_pulls`."""
        runs: Sequence[int] | None = await self._row(scalar_row, "select tds.reconcile_pulls(%b)", run_id)
        return runs

    async def wanted_images(self) -> int:
        """How many pictures are wanted."""
        query = "select count(*) from tds_wanted_images where organization_id = %b"
        return int(await self._row(scalar_row, query, self.organization_id))

    async def drain(self, queue: str | None = None) -> Mapping[str, int]:
        """Processes what waits in a queue, or in all, in a worker's time; see `db.worker.drain`.

        The poller's own role may not: that is the workers', and it is told where there is none.
        """
        if self._beside is not None:
            return await self._beside._shared_drain(queue)
        if self._may_drain is None:
            query = "select has_function_privilege('tds.process_batch(text, int, jsonb)', 'execute')"
            self._may_drain = bool(await self._row(scalar_row, query))
        if self._may_drain:
            return await self._drain(queue)
        if time.monotonic() > self._tell_at:
            self._tell_at = time.monotonic() + TELL_SECONDS
            if not await self._row(scalar_row, "select exists (select from tds_workers)"):
                log.warning("What has come waits for a worker, and none is connected: tds work")
        return {"claimed": 0}

    async def _shared_drain(self, queue: str | None) -> Mapping[str, int]:
        """One drain for all who ask while it has not begun: it takes the events of every organisation."""
        waiting = f"next {queue}"
        if waiting not in self._drains:
            self._drains[waiting] = asyncio.create_task(
                self._drain_after(self._drains.get(queue), waiting, queue)
            )
        return await asyncio.shield(self._drains[waiting])

    async def _drain_after(
        self, before: "asyncio.Task[Mapping[str, int]] | None", waiting: str, queue: str | None
    ) -> Mapping[str, int]:
        if before is not None:
            await asyncio.wait([before])
        self._drains[queue] = self._drains.pop(waiting)
        return await self.drain(queue)

    async def _drain(self, queue: str | None) -> Mapping[str, int]:
        async with self._drain_pool.connection() as connection:
            call = "call tds.process_batch(%b, 1000, null)"
            row = await (await connection.execute(call, [queue], binary=True)).fetchone()
        assert row is not None
        outcome: Mapping[str, int] = row[0]
        return outcome

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

    async def unanswered(self, entity: str) -> int:
        """How many wanted details are to be asked for, or failed: not those that are being processed."""
        query = """select count(*) from tds.wanted_detail w
                    where w.organization_id = %b and w.entity = %b and not tds.is_answered(w)"""
        return int(await self._row(scalar_row, query, self.organization_id, entity))

    async def open_wants(self, entity: str) -> set[str]:
        """The ids of wanted details that have not failed yet."""
        rows: list[str] = await self._rows(
            scalar_row,
            """select zoho_id from tds.wanted_detail
                where organization_id = %b and entity = %b and error is null
                  and coalesce(not_before, '-infinity') <= tds.now()""",
            *(self.organization_id, entity),
        )
        return set(rows)

    async def note_vain(self, entity: str, asked_at: Mapping[str, datetime]) -> int:
        """Notes of wants that these processed answers have left open that they did not settle them.

        Args:
            entity: of what.
            asked_at: when the details that were fetched were asked for.

        Returns:
            How many other wants are open.
        """
        query = "select tds.note_vain(%b, %b, %b, %b)"
        parameters = [entity, self.organization_id, list(asked_at), list(asked_at.values())]
        return int(await self._row(scalar_row, query, *parameters))

    async def _rows(self, factory: BaseRowFactory[Row], query: str, *parameters: object) -> list[Row]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=factory) as cursor:
            await cursor.execute(query, parameters, binary=True)
            return await cursor.fetchall()

    async def _row(self, factory: BaseRowFactory[Row], query: str, *parameters: object) -> Row:
        [row] = await self._rows(factory, query, *parameters)
        return row
