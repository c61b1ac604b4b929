"""The organisations that are rows of `tds.organization`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg

LISTED = """
    select organization_id, name, data_centre, accounts_base, api_base, credentials, webhook_credentials,
           state
      from tds.organizations_listed()"""
NOT_KNOWN = ("42883", "42P01", "3F000")  # a database of before there were any


class State(StrEnum):
    """Of an organisation."""

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class Organisation:
    """A row: whose data, where Zoho keeps it, and where its credentials stand."""

    organization_id: str
    name: str | None
    data_centre: str
    accounts_base: str | None
    api_base: str | None
    credentials: str
    webhook_credentials: str
    state: State

    @classmethod
    def of(cls, row: tuple[object, ...]) -> Organisation:
        """The row of `LISTED`."""
        fields: Any = (*row[:-1], State(str(row[-1])))
        return cls(*fields)


def listed(connection: psycopg.Connection[tuple[object, ...]]) -> list[Organisation]:
    """All rows; none where the database is of a version before there were any.

    Args:
        connection: in autocommit.

    Raises:
        psycopg.Error: the database refuses, or cannot be reached.
    """
    try:
        return [Organisation.of(row) for row in connection.execute(LISTED).fetchall()]
    except psycopg.Error as error:
        if error.sqlstate in NOT_KNOWN:
            return []
        raise
