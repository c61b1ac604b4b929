"""Which organisations a program serves, each with the settings of its own."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from pydantic import ValidationError

from tds_db.connect import connect
from tds_db.errors import TdsError
from tds_db.organisations import Organisation, State, listed
from tds_db.references import NotThereError, resolved
from tds_poller.zoho.settings import ZohoPlace, ZohoSettings

NEEDED = ("ZOHO_CLIENT_ID", "ZOHO_CLIENT_SECRET", "ZOHO_REFRESH_TOKEN")
ID = "ZOHO_ORGANIZATION_ID"
SHOWN = 10  # organisations that a message names


@dataclass(frozen=True, slots=True)
class Served:
    """An organisation that is to be served: its settings, or why there are none."""

    organization_id: str
    settings: ZohoSettings | None = None
    problem: TdsError | None = None
    is_row: bool = True

    def needed(self) -> ZohoSettings:
        """The settings.

        Raises:
            TdsError: there are none.
        """
        if self.settings is None:
            assert self.problem is not None
            raise self.problem
        return self.settings


def settings_of(row: Organisation, found: Mapping[str, str] | None = None) -> ZohoSettings:
    """An organisation's settings: its row, and what its reference leads to.

    Args:
        row: the organisation.
        found: what stands where its credentials are, if that is known already; see `resolved`.

    Raises:
        NotThereError: that is not there, or incomplete.
    """
    if found is None:
        found = resolved(row.credentials)
    if missing := [name for name in NEEDED if name not in found]:
        raise NotThereError(
            f"Where organisation {row.organization_id} has its credentials ({row.credentials}) "
            f"there is no {', '.join(missing)}.",
            f"Next: put it there, or tds org set {row.organization_id} --credentials env:PREFIX_|file:/path",
        )
    # The bases of the environment are a sandbox's, for all; nothing else of the environment's is this one's.
    place = ZohoPlace(dc=row.data_centre)
    return ZohoSettings.model_validate(
        {
            "dc": row.data_centre,
            "accounts_base": row.accounts_base or place.accounts_base,
            "api_base": row.api_base or place.api_base,
            "client_id": found["ZOHO_CLIENT_ID"],
            "client_secret": found["ZOHO_CLIENT_SECRET"],
            "refresh_token": found["ZOHO_REFRESH_TOKEN"],
            "organization_id": row.organization_id,
            # a row has its limits in the database
            "calls_per_minute": None,
            "concurrency": None,
        }
    )


Known = dict[str, tuple[Organisation, Mapping[str, str], Served]]
"""What was made of each row and its credentials at the last look: to make it takes longer than to look."""


def served(dsn: str, only: Collection[str] = (), known: Known | None = None) -> list[Served]:
    """The organisations to serve: those of `only`, else every row that is active and that of the environment.

    Args:
        dsn: libpq connection string of the database.
        only: ids.
        known: what a look before this has made; it is brought up to date.

    Returns:
        The environment's first. One whose credentials are not there is among them, with its problem.

    Raises:
        ValidationError: nothing but the environment could say, and it does not.
        TdsError: an id of `only` is none of them, or it is paused.
        psycopg.Error: the database cannot be asked.
    """
    own, wrong = _of_the_environment()
    try:
        rows = {row.organization_id: row for row in _listed(dsn)}
    except psycopg.Error:
        if wrong is not None:
            raise wrong from None
        raise
    found: dict[str, Served] = {}
    if own is not None and own.organization_id not in rows:
        found[own.organization_id] = Served(own.organization_id, own, is_row=False)
    if wrong is not None and os.environ.get(ID) not in rows and (not rows or _is_meant()):
        raise wrong
    for row in rows.values():
        if row.state == State.ACTIVE:
            found[row.organization_id] = _served(row, {} if known is None else known)
    for organization_id in only:
        if organization_id not in found:
            raise _not_served(organization_id, rows, found)
    return [each for each in found.values() if not only or each.organization_id in only]


def to_be_asked(dsn: str, only: Collection[str] = ()) -> list[Served]:
    """The same for a command that asks Zoho at once: with nobody to ask for it does not pass for done.

    Raises:
        ValidationError: nothing but the environment could say, and it does not.
        TdsError: an id of `only` is none of them, or paused; or all are.
        psycopg.Error: the database cannot be asked.
    """
    found = served(dsn, only)
    if not found:
        rows = _listed(dsn)
        told = ", ".join(f"{row.organization_id} is {row.state}" for row in rows[:SHOWN])
        paused = [row.organization_id for row in rows if row.state == State.PAUSED]
        raise TdsError(
            f"No organisation is active, so nothing was asked: {told}.",
            f"Next: tds org resume {paused[0]}" if len(paused) == 1 else "Next: tds org list",
        )
    return found


def _served(row: Organisation, known: Known) -> Served:
    try:
        found = resolved(row.credentials)
        match known.get(row.organization_id):
            case (before, told, made) if before == row and told == found:
                return made
        made = Served(row.organization_id, settings_of(row, found))
        known[row.organization_id] = row, found, made
        return made
    except TdsError as problem:
        return Served(row.organization_id, problem=problem)
    except ValidationError as error:
        named = ", ".join(str(each["loc"][0]) for each in error.errors(include_input=False))
        said = f"What {row.credentials} says of organisation {row.organization_id} is unfit: {named}."
        return Served(row.organization_id, problem=NotThereError(said, "Next: tds doctor"))


def _listed(dsn: str) -> Sequence[Organisation]:
    with connect("organisations", dsn, autocommit=True) as connection:
        return listed(connection)


def _of_the_environment() -> tuple[ZohoSettings | None, ValidationError | None]:
    try:
        return ZohoSettings(), None
    except ValidationError as error:
        return None, error


def _is_meant() -> bool:
    """Whether the environment has an organisation's credentials, or some of them."""
    return bool(os.environ.get(ID)) and any(os.environ.get(name) for name in NEEDED)


def _not_served(
    organization_id: str, rows: Mapping[str, Organisation], found: Mapping[str, Served]
) -> TdsError:
    row = rows.get(organization_id)
    if row is None:
        known = ", ".join(found) or "none"
        return TdsError(
            f"There is no organisation {organization_id[:60]}; there are {known}.",
            "Next: tds org list, tds org add",
        )
    if row.state == State.PAUSED:
        return TdsError(
            f"Organisation {organization_id} is paused.", f"Next: tds org resume {organization_id}"
        )
    return TdsError(
        f"Organisation {organization_id} is being removed.", f"Next: tds org remove {organization_id}"
    )
