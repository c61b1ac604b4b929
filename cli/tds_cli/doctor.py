"""`tds doctor`: everything that TDS needs, one line each: ok, or the problem and the next command."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import click
import psycopg
from psycopg.rows import DictRow, tuple_row
from pydantic import ValidationError

from tds_cli.exits import FAILED
from tds_cli.explanations import explanation, problems
from tds_cli.options import as_json
from tds_cli.organisations import by_org
from tds_cli.output import print_json
from tds_cli.terminal import echo
from tds_db.connect import (
    SHARED,
    Pooling,
    connect,
    connect_async,
    connect_for_rows,
    conninfo,
    is_same_database,
    pooling,
    read_address,
)
from tds_db.errors import AddressError, PoolerError, TdsError
from tds_db.organisations import Organisation, listed
from tds_db.settings import DatabaseSettings
from tds_db.status import status
from tds_db.variables import unknown
from tds_poller.organisations import Served, served
from tds_poller.zoho.client import INVENTORY, Reply, ZohoClient
from tds_poller.zoho.errors import LimitError, UnauthorizedError, ZohoError
from tds_poller.zoho.scopes import ACTIVITY_LOG, SCOPES, scope_string
from tds_poller.zoho.settings import DATA_CENTRES, ZohoSettings
from tds_receiver.organisations import settings_of
from tds_receiver.settings import ReceiverSettings

VERSIONS = range(15, 19)
SKEW_SECONDS = 30.0
WAIT_SECONDS = 10.0  # a doctor who is kept waiting says so

# Feeds of hints that are read where they can be: where they are, and what the refresh token needs for it.
FEEDS = {
    "activity_log": ("/reports/activitylogs", ACTIVITY_LOG[0]),
    "webhook_failures": ("/settings/webhooks/histories", "ZohoBooks.settings.READ"),
}
UPGRADE = "tds db upgrade"
NEW_TOKEN = f"tds connect, with a grant code for {scope_string()}"


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, whether it is well, what was found, and what to do if it is not."""

    check: str
    ok: bool
    said: str
    next: str = ""


def check_pooler(settings: DatabaseSettings) -> Iterator[Check]:
    """What stands between the programs and the database that they are told of."""
    given = [each for each in (settings.for_receiver, settings.for_sessions) if each]
    try:
        addresses = {variable: read_address(variable, value) for variable, value in given}
        for variable, dsn in addresses.items():
            found = pooling(dsn)
            if found is Pooling.STATEMENT or (found in SHARED and given[-1][0] == variable):
                error = PoolerError(variable, found)
                yield Check("pooler", False, error.message, error.hint.removeprefix("Next: "))
                continue
            what = "PostgreSQL itself" if found is Pooling.NONE else f"a pooler in {found} mode"
            yield Check("pooler", True, f"{variable} leads to {what}")
        if len(addresses) > 1 and not is_same_database(*addresses.values()):
            said = f"{' and '.join(addresses)} lead to different databases: what one stores no worker sees"
            yield Check("pooler", False, said, "set both to the same database")
    except (AddressError, psycopg.OperationalError):
        return  # that is a line of its own


def check_database(dsn: str) -> Iterator[Check]:
    """The database, its schema, pgmq, pg_cron and the workers."""
    try:
        connection = connect_for_rows("doctor", dsn, connect_timeout=10)
    except psycopg.OperationalError as error:
        said = str(error).strip().splitlines()[0]
        yield Check("database", False, said, "start that server, or mend TDS_DATABASE_URL")
        return
    with connection:
        major = connection.info.server_version // 10000
        where = f"PostgreSQL {connection.info.parameter_status('server_version')}, database"
        said = f"{where} {connection.info.dbname}, role {connection.info.user}"
        wrong = "" if major in VERSIONS else "use PostgreSQL 15 to 18"
        yield Check("database", not wrong, said, wrong)
        yield _guarded("schema", UPGRADE, lambda: _schema(dsn))
        yield _guarded("pgmq", UPGRADE, lambda: _pgmq(connection))
        yield _pg_cron(connection)
        yield _guarded("workers", UPGRADE, lambda: _workers(connection))
        yield _guarded("settings", UPGRADE, lambda: _settings(connection))


def _settings(connection: psycopg.Connection[DictRow]) -> Check:
    found = connection.execute("select * from tds_overrides").fetchall()
    told = "; ".join(f"{row['who']} sets {row['name']} to {row['value']}" for row in found)
    mend = "; ".join(row["mend"] for row in found if not row["harmless"])
    return Check("settings", not mend, told or "nothing that we rest on is overridden", mend)


def _guarded(name: str, next_command: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except psycopg.errors.InsufficientPrivilege as error:
        said = f"not looked at: {error.diag.message_primary}; tds doctor as tds_operator looks"
        return Check(name, True, said)
    except psycopg.errors.UndefinedTable:
        return Check(name, False, "TDS is not in this database", next_command)


def _schema(dsn: str) -> Check:
    found = status(dsn)
    files = (*found.migrations, *found.functions)
    behind = [file.name for file in files if file.state != "applied"]
    if behind:
        names = ", ".join(behind[:3])
        more = ", …" if len(behind) > 3 else ""
        return Check("schema", False, f"{len(behind)} files are not as applied: {names}{more}", UPGRADE)
    if found.changed_by_hand:
        names = ", ".join(change.object for change in found.changed_by_hand[:3])
        more = ", …" if len(found.changed_by_hand) > 3 else ""
        return Check("schema", False, f"changed by hand: {names}{more}", "tds db status")
    said = f"current: {len(found.migrations)} migrations, {len(found.functions)} function files"
    return Check("schema", True, said)


def _pgmq(connection: psycopg.Connection[DictRow]) -> Check:
    row = connection.execute("select kind, version from tds.pgmq_install").fetchone()
    if row is None:
        return Check("pgmq", False, "not installed", UPGRADE)
    how = {"extension": "the server's extension", "sql": "the SQL of the Python package"}[row["kind"]]
    return Check("pgmq", True, f"{row['version']}, {how}")


def _pg_cron(connection: psycopg.Connection[DictRow]) -> Check:
    row = connection.execute(
        """select (select extversion from pg_extension where extname = 'pg_cron') as version,
                  current_setting('cron.database_name', true) as elsewhere"""
    ).fetchone()
    assert row
    if row["version"]:
        return Check("pg_cron", True, f"{row['version']}, in this database")
    if row["elsewhere"]:
        return Check(
            "pg_cron", True, f"in database {row['elsewhere']}: cron.schedule_in_database() from there"
        )
    return Check("pg_cron", True, "not on this server; TDS does without")


def _workers(connection: psycopg.Connection[DictRow]) -> Check:
    row = connection.execute("select count(*) as alive, min(since) as since from tds_workers").fetchone()
    assert row
    if not row["alive"]:
        return Check("workers", False, "none is connected to this database", "tds work &")
    since = f", since {row['since']:%Y-%m-%d %H:%M}" if row["since"] else ""
    return Check("workers", True, f"{row['alive']} alive{since}")


def check_webhooks() -> Check:
    """Whether webhooks' signatures can be checked."""
    secrets = [part for part in os.environ.get("ZOHO_WEBHOOK_SECRET", "").split(",") if part.strip()]
    if not secrets:
        said = "none set: signatures of webhooks are not checked"
        return Check(
            "webhook secret", False, said, "set ZOHO_WEBHOOK_SECRET as in Zoho's webhook, for tds serve"
        )
    return Check("webhook secret", True, f"{len(secrets)} set")


def check_endpoints() -> Check:
    """Whether what was signed for one endpoint is good for another: Zoho signs no path and no method."""
    if not os.environ.get("ZOHO_WEBHOOK_SECRET", "").strip(" ,"):
        return Check("endpoints", True, "no secret is shared by several")
    return Check("endpoints", True, "one secret for several; better each its own: docs/receiver.md")


async def check_zoho(settings: ZohoSettings, dsn: str) -> AsyncIterator[Check]:
    """Token, data centre, organisation, clock, scopes and quota: about a dozen calls.

    Raises:
        psycopg.Error: the database, where token and budget are kept, is not fit for it.
    """
    settings = settings.model_copy(update={"longest_wait": WAIT_SECONDS})
    async with ZohoClient(settings, dsn, purpose="repair") as client:
        try:
            token = await client.token()
        except ZohoError as error:
            yield _problem("token", error)
            return
        yield Check("token", True, "Zoho takes the refresh token")
        yield _data_centre(settings, token.api_domain)
        reply = None
        try:
            reply = await client.get(f"/organizations/{settings.organization_id}")
        except UnauthorizedError as error:
            yield Check("organisation", False, f"not readable ({error.message})", NEW_TOKEN)
        except ZohoError as error:
            yield _problem("organisation", error)
            return
        else:
            yield _organization(settings, reply)
            yield await _clock(reply, dsn)
        for scope, path in SCOPES.items():
            yield await _scope(scope, client.get(path, {"per_page": 1}, refresh=False))
        yield await _inventory(client)
        for feed, about in FEEDS.items():
            yield await _feed(client, dsn, feed, *about)
        yield await asyncio.to_thread(_quota, settings, dsn)


def _problem(name: str, error: ZohoError) -> Check:
    return Check(name, False, error.message, error.hint.removeprefix("Next: ").rstrip(".") or "tds -v doctor")


def _data_centre(settings: ZohoSettings, domain: str) -> Check:
    expected = DATA_CENTRES[settings.dc].api
    if domain in {"", settings.hosts.api, expected}:
        return Check("data centre", True, f"{settings.hosts.api}")
    right = next((dc for dc, hosts in DATA_CENTRES.items() if hosts.api == domain), None)
    said = f"the organisation lives at {domain[:100]}, not at {expected} (ZOHO_DC={settings.dc})"
    return Check("data centre", False, said, f"set ZOHO_DC={right}" if right else "check ZOHO_DC")


def _organization(settings: ZohoSettings, reply: Reply) -> Check:
    told = reply.document.get("organization")
    organization: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    name = f"{organization.get('name', '?')} ({settings.organization_id})"
    return Check("organisation", True, f"{name}, {organization.get('currency_code', '?')}")


async def _clock(reply: Reply, dsn: str) -> Check:
    connection = await connect_async("doctor", dsn, tuple_row)
    async with connection, connection.cursor() as cursor:
        await cursor.execute("select clock_timestamp()")
        row = await cursor.fetchone()
        here = datetime.now(UTC)
    assert row
    database = (row[0] - here).total_seconds()
    zoho = None
    if reply.server_time:
        # it shows whole seconds, and `sent_at` is by its clock already
        zoho = (reply.server_time - reply.sent_at).total_seconds() + reply.ahead + 0.5
    said = f"the database's is {round(database) + 0:+} s off this machine's"
    said += f", Zoho's {round(zoho) + 0:+} s" if zoho is not None else "; Zoho's answer shows no time"
    if max(abs(database), abs(zoho or 0)) <= SKEW_SECONDS:
        return Check("clock", True, said)
    return Check("clock", False, said, "timedatectl set-ntp true, on each machine that is wrong")


async def _scope(scope: str, call: Awaitable[Reply]) -> Check:
    name = f"ZohoBooks.{scope}.READ"
    try:
        await call
    except UnauthorizedError:
        return Check(f"scope {scope}", False, f"the refresh token lacks {name}", NEW_TOKEN)
    except LimitError as error:
        return Check(
            f"scope {scope}",
            False,
            f"not looked at: {error.message}",
            error.hint.removeprefix("Next: ").rstrip("."),
        )
    except ZohoError as error:
        return _problem(f"scope {scope}", error)
    return Check(f"scope {scope}", True, name)


async def _inventory(client: ZohoClient) -> Check:
    """Which API tells the stock by place: Inventory's only where the token has its scope."""
    name = "ZohoInventory.items.READ"
    try:
        await client.get(f"{INVENTORY}items", {"per_page": 1}, refresh=False)
    except UnauthorizedError:
        return Check("stock by place", True, f"from Books alone: the refresh token lacks {name}")
    except ZohoError as error:
        return Check("stock by place", True, f"from Books; Inventory was not looked at: {error.message}")
    return Check("stock by place", True, "from Books, and from the Inventory API where Books tells none")


async def _feed(client: ZohoClient, dsn: str, feed: str, path: str, scope: str) -> Check:
    """Whether a feed of hints can be read; `tds poll` reads it then."""
    name, error = feed.replace("_", " "), None
    try:
        await client.get(path, {"per_page": 1}, refresh=False)
    except LimitError as limit:
        return Check(name, True, f"not looked at: {limit.message}")
    except UnauthorizedError:
        error = f"the refresh token lacks {scope}, or its user may not see it"
    except ZohoError as failure:
        error = failure.message
    connection = await connect_async("doctor", dsn, tuple_row)
    async with connection:
        await connection.execute(
            "select tds.note_feed_grant(%s, %s, %s, %s)",
            [client.organization_id, feed, error is None, error],
        )
    return Check(name, True, "read for hints by tds poll" if error is None else f"not read: {error}")


def _quota(settings: ZohoSettings, dsn: str) -> Check:
    query = "select * from tds_api_budget where organization_id = %s"
    with connect_for_rows("doctor", dsn) as connection:
        row = connection.execute(query, [settings.organization_id]).fetchone()
    assert row
    if row["paused_until"]:
        said = f"paused until {row['paused_until']:%Y-%m-%d %H:%M:%S}: {row['pause_reason']}"
        return Check("quota", False, said, "wait, or: select tds.resume_calls('<organisation>');")
    if row["day_limit"] is None:
        return Check("quota", True, "Zoho's answers name no limit of the day")
    said = f"{row['left_today']:,} of {row['day_limit']:,} calls left today"
    if row["left_today"] <= row["kept_for_repair"]:
        return Check("quota", False, said, f"wait until {row['day_resets_at']:%Y-%m-%d %H:%M}")
    return Check("quota", True, said)


def _keeps_budget(dsn: str) -> bool:
    """Whether the database can be asked for token and budget."""
    return _may(dsn, "tds.reserve_calls(text, int, text, text)")


def _may(dsn: str, function: str) -> bool:
    query = "select coalesce(has_function_privilege(to_regprocedure(%s), 'execute'), false)"
    try:
        with connect("doctor", dsn, connect_timeout=10) as connection:
            row = connection.execute(query, [function]).fetchone()
    except psycopg.OperationalError:
        return False
    return row == (True,)


async def all_checks(organisations: Sequence[str] = ()) -> AsyncIterator[Check]:
    """Every line, in order.

    Args:
        organisations: ids of those that are looked at; none: all that are active.
    """
    for said in unknown(os.environ):
        yield Check("variables", False, said, "mend or take out the name where it is set")
    database = DatabaseSettings()
    for check in await asyncio.to_thread(lambda: [*check_pooler(database)]):
        yield check
    try:
        dsn = conninfo(database)
    except PoolerError:
        return  # told already
    except (TdsError, psycopg.Error) as error:
        said, _, _ = (explanation(error) or "").partition("\n")
        yield Check("database", False, said, "tds db start, or set TDS_DATABASE_URL")
        return
    for check in check_database(dsn):
        yield check
    yield check_webhooks()
    yield check_endpoints()
    try:
        try:
            chosen = await asyncio.to_thread(served, dsn, organisations)
        except psycopg.Error:
            # what is wrong with the database is said already
            own = ZohoSettings()
            chosen = [Served(own.organization_id, own, is_row=False)]
    except ValidationError as error:
        told = "; ".join(f"{name} {said}" for name, said in problems(error))
        yield Check("environment", False, told, "tds connect")
        return
    except TdsError as error:
        yield Check("environment", False, error.message, error.hint.removeprefix("Next: "))
        return
    for each in chosen:
        async for check in _of_one(each, dsn):
            named = len(chosen) > 1 and check.check != "environment"
            yield replace(check, said=f"{each.organization_id}: {check.said}") if named else check


async def _of_one(each: Served, dsn: str) -> AsyncIterator[Check]:
    """The lines of an organisation."""
    if each.settings is None:
        assert each.problem is not None
        yield Check("environment", False, each.problem.message, each.problem.hint.removeprefix("Next: "))
        return
    settings = each.settings
    place = f"ZOHO_DC={settings.dc}" if not each.is_row else f"data centre {settings.dc}"
    yield Check("environment", True, f"organisation {settings.organization_id}, {place}")
    if each.is_row:
        yield _webhook_secrets(each, dsn)
    if not _keeps_budget(dsn):
        said = "not looked at: token and quota are kept in the database"
        yield Check("Zoho", False, said, "mend the database first")
        return
    if not _may(dsn, "tds.access_token(text, text, double precision, text)"):
        said = "not asked: that is the poller's; tds doctor with its login, a member of tds_poller, asks"
        yield Check("Zoho", True, said)
        return
    async for check in check_zoho(settings, dsn):
        yield check


def _webhook_secrets(each: Served, dsn: str) -> Check:
    """Whether an organisation's webhooks have secrets of its own."""
    with connect("doctor", dsn, autocommit=True) as connection:
        rows = listed(connection)
    row = next(row for row in rows if row.organization_id == each.organization_id)
    try:
        settings = settings_of(row.webhook_credentials)
    except TdsError as error:
        return Check("webhook secret", False, error.message, error.hint.removeprefix("Next: "))
    if sharing := _sharing(settings, each.organization_id, rows):
        said = f"shared with {', '.join(sharing)}: what is signed for one is taken for the other"
        return Check("webhook secret", False, said, "give each organisation a secret of its own")
    if not settings.webhook_secrets and settings.is_open:
        said = f"none where {row.webhook_credentials} says: its webhooks are refused, or taken by anybody's"
        return Check("webhook secret", False, said, "put WEBHOOK_SECRET there, as in Zoho's webhook")
    return Check("webhook secret", True, f"{row.webhook_credentials} has it")


def _sharing(settings: ReceiverSettings, organization_id: str, rows: Sequence[Organisation]) -> list[str]:
    """The other organisations that have a secret or token of this one's."""
    others: dict[str, ReceiverSettings] = {"the environment": ReceiverSettings()}
    for row in rows:
        with suppress(TdsError):  # its own line says so
            if row.organization_id != organization_id:
                others[row.organization_id] = settings_of(row.webhook_credentials)
    return [name for name, other in others.items() if settings.proofs & other.proofs]


@click.command()
@by_org
@as_json
def doctor(organisations: tuple[str, ...], as_json: bool) -> None:
    """Looks at everything that TDS needs. Each line is ok, or the problem and the next command.

    It spends about a dozen calls. Exit code 1: something is wrong.
    """

    async def run() -> list[Check]:
        checks = []
        async for check in all_checks(organisations):
            checks.append(check)
            if not as_json:
                print_check(check)
        return checks

    checks = asyncio.run(run())
    well = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": well, "checks": [asdict(check) for check in checks]})
    if not well:
        sys.exit(FAILED)


def print_check(check: Check) -> None:
    """One line of it, on stdout."""
    word = click.style("ok     ", fg="green") if check.ok else click.style("problem", fg="red")
    echo(f"  {check.check:22} {check.said}", mark=word)
    if check.next:
        echo(f"{'':9}{'':22} next: {check.next}")
