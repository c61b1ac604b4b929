"""Whose an address is, and what it asks for: each organisation has secrets of its own.

The rows of `tds.organization` are read with every sign of life, and the secrets where they say: what is
added, paused, removed or replaced is known within seconds, and nothing is restarted.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

from psycopg import Error
from psycopg.rows import TupleRow
from pydantic import ValidationError

from tds_db.connect import AsyncConnection
from tds_db.errors import TdsError
from tds_db.organisations import LISTED, NOT_KNOWN, Organisation, State
from tds_db.references import NotThereError, resolved
from tds_receiver.body import RefusedError
from tds_receiver.inbox import UnavailableError
from tds_receiver.settings import Credentials, ReceiverSettings

log = logging.getLogger(__name__)

NESTED = ("SECRETS", "TOKENS")
HAS_LANES = "select to_regprocedure('tds.lanes()') is not null"  # of a router
LANES = "select organization_id, lane from tds.lanes()"


class Address(NamedTuple):
    """An organisation's address."""

    organization_id: str | None
    """Whose what comes there is; None: the body or the database says."""
    credentials: Callable[[str], Credentials]
    """What an endpoint of it asks for."""
    is_open: bool
    """Whether it asks for nothing."""
    signed_delete: bool
    """Whether DELETE is taken with a signature."""


def settings_of(reference: str, found: Mapping[str, str] | None = None) -> ReceiverSettings:
    """What the webhooks of an organisation ask for.

    Args:
        reference: where that stands.
        found: what stands there, if that is known already; see `resolved`.

    Raises:
        NotThereError: nothing is there, or no secret that can be used; no value is shown.
    """
    if found is None:
        found = resolved(reference)
    prefix = "ZOHO_WEBHOOK_"
    told: dict[str, object] = {"webhook_secrets": {}, "webhook_tokens": {}}
    for kind in NESTED:
        nested = {
            name.removeprefix(f"{prefix}{kind}__"): value
            for name, value in found.items()
            if name.startswith(f"{prefix}{kind}__")
        }
        if whole := found.get(prefix + kind):
            try:
                nested |= json.loads(whole)
            except (ValueError, TypeError):
                raise NotThereError(
                    f"{prefix}{kind} of {reference} is no JSON object.", "Next: mend it"
                ) from None
        told[f"webhook_{kind.lower()}"] = nested
    told |= {
        "webhook_secret": found.get(f"{prefix}SECRET", ""),
        "webhook_token": found.get(f"{prefix}TOKEN", ""),
        "signed_delete": found.get(f"{prefix}DELETE", "false"),
        "organization_id": None,
    }
    try:
        settings = ReceiverSettings.model_validate(told)
    except ValidationError as error:
        named = "; ".join(str(problem["msg"]) for problem in error.errors(include_input=False))
        raise NotThereError(
            f"The webhooks' secrets of {reference} are unfit: {named}.", "Next: mend it"
        ) from None
    if settings.weak:
        raise NotThereError(
            f"Too short in {reference}: {', '.join(settings.weak)}.", "Use 12 to 50 characters, as Zoho does."
        )
    return settings


class Organisations:
    """The addresses of all organisations.

    Args:
        settings: of the environment: they are the only or the default organisation's.
    """

    def __init__(self, settings: ReceiverSettings) -> None:
        self._own = settings
        self._only = settings.only
        self._rows: Mapping[str, Organisation] | None = None
        self._secrets: dict[str, ReceiverSettings] = {}
        self._kept: dict[str, tuple[Mapping[str, str], ReceiverSettings]] = {}
        self._addresses: dict[str, Address] = {}
        self._lanes: Mapping[str | None, int] = {}
        self._default = Address(
            None, lru_cache(maxsize=256)(settings.credentials), settings.is_open, settings.signed_delete
        )

    async def load(self, connection: AsyncConnection[TupleRow]) -> None:
        """Reads the rows, the secrets where they say, and of a router which shard an organisation is on.

        Args:
            connection: in autocommit.

        Raises:
            psycopg.Error: the database is away.
        """
        try:
            found = await (await connection.execute(LISTED)).fetchall()
        except Error as error:
            if connection.closed or error.sqlstate not in NOT_KNOWN:
                raise
            found = []  # a database of before there were any
        if await (await connection.execute(HAS_LANES)).fetchone() == (True,):
            self._lanes = dict(await (await connection.execute(LANES)).fetchall())
        rows = [Organisation.of(row) for row in found]
        secrets, problems = await asyncio.to_thread(self._read, rows)
        for organization_id, problem in problems.items():
            kept = "; those of before are still good" if organization_id in self._secrets else ""
            log.error(
                "secrets cannot be read", extra={"organization_id": organization_id, "error": problem + kept}
            )
        self._take(rows, secrets)

    def _read(self, rows: Collection[Organisation]) -> tuple[dict[str, ReceiverSettings], dict[str, str]]:
        kept: dict[str, tuple[Mapping[str, str], ReceiverSettings]] = {}
        problems: dict[str, str] = {}
        for row in rows:
            if row.state == State.REMOVING:
                continue
            try:
                found = resolved(row.webhook_credentials)
                made = self._kept.get(row.organization_id)
                # to make them takes ten times as long as to look whether they are the same
                if made is None or made[0] != found:
                    made = found, settings_of(row.webhook_credentials, found)
                kept[row.organization_id] = made
            except TdsError as error:
                problems[row.organization_id] = error.message
        self._kept = kept
        return {organization_id: made for organization_id, (_, made) in kept.items()}, problems

    def _take(self, rows: Collection[Organisation], secrets: Mapping[str, ReceiverSettings]) -> None:
        self._rows = {row.organization_id: row for row in rows}
        self._secrets = {
            row.organization_id: secrets.get(row.organization_id) or self._secrets[row.organization_id]
            for row in rows
            if row.organization_id in secrets or row.organization_id in self._secrets
        }
        self._addresses = {
            organization_id: Address(
                organization_id,
                lru_cache(maxsize=256)(settings.credentials),
                # without a secret of its own it is as open as the receiver is
                self._own.is_open and settings.is_open,
                settings.signed_delete,
            )
            for organization_id, settings in self._secrets.items()
        }

    def lane(self, organization_id: str | None) -> int:
        """The shard of an organisation, of those that the router's directory does not know the default one.

        It may have moved since: the router knows. Without a router all are in one lane.
        """
        own = self._own.organization_id if organization_id is None else organization_id
        return self._lanes.get(own, self._lanes.get(None, 0))

    def is_known(self, organization_id: str) -> bool:
        """Whether it is served here.

        Raises:
            UnavailableError: nobody knows yet: the database has not been reached since the start.
        """
        if organization_id == self._own.organization_id and organization_id not in (self._rows or {}):
            return not self._only or organization_id in self._only
        if self._rows is None:
            raise UnavailableError("which organisations there are is not known yet")
        row = self._rows.get(organization_id)
        is_wanted = not self._only or organization_id in self._only
        return row is not None and row.state != State.REMOVING and is_wanted

    def address(self, named: str | None, asked: str | None) -> Address:
        """Whose address it is.

        Args:
            named: the organisation in the path.
            asked: `organization_id` of the query.

        Raises:
            RefusedError: 404, it is nobody's; 400, it names two.
            UnavailableError: nobody knows yet, or its secrets cannot be read.
        """
        if named is not None:
            if asked not in {None, named}:
                raise RefusedError(
                    400, "the URL names one organisation, organization_id in the query another"
                )
            return self._of(named)
        rows = self._rows or {}
        own = self._own.organization_id
        if asked is not None and asked != own and asked in rows:
            return self._of(asked)
        if own is not None:
            if self._only and own not in self._only:
                raise RefusedError(404, f"organisation {own} is not served here")
            return self._of(own) if own in rows else self._at_default(asked)
        alive = [row.organization_id for row in rows.values() if row.state != State.REMOVING]
        if not alive or not (self._own.is_open or self._own.only_rows):
            return self._at_default(asked)
        if len(alive) == 1 and asked in {None, alive[0]}:
            return self._of(alive[0])
        raise RefusedError(
            404, "there are several organisations: /api/zoho/ORGANISATION/webhooks/… says whose it is"
        )

    def _at_default(self, asked: str | None) -> Address:
        return self._default if asked is None else self._default._replace(organization_id=asked)

    def _of(self, organization_id: str) -> Address:
        if not self.is_known(organization_id):
            raise RefusedError(404, "there is no such organisation here")
        if organization_id not in (self._rows or {}):
            return self._default  # the environment's: the database knows whose
        if organization_id not in self._addresses:
            raise UnavailableError(f"the secrets of organisation {organization_id} cannot be read")
        return self._addresses[organization_id]
