"""Every error of asking Zoho, in one tree.

TdsError
 └─ ZohoError
     ├─ TooLargeError        an answer is larger than anything Zoho sends
     ├─ AuthorizationError   the token endpoint refuses us; trying again is useless or harmful
     ├─ UnauthorizedError    HTTP 401, also with a fresh token: the scope or the role is missing
     ├─ RefusedError         the call itself is wrong: a bad parameter, URL or organisation
     │   ├─ NotFoundError      404 with code 1002: there is no such record
     │   └─ OrganizationError  4029, 6041: there is no such organisation, or not for this user
     ├─ LimitError           429, and waiting for it takes longer than allowed
     ├─ UnreachableError     5xx, transport errors and answers that are not JSON, three retries later
     └─ PagingError          a list that cannot be walked to its end
 └─ MovingError            the organisation is on its way to another shard: its poller there asks
"""

import re
from collections.abc import Iterable
from datetime import datetime

import psycopg

from tds_db.errors import TdsError

INVALID_VALUE = 2  # "Invalid value passed for …"


class ZohoError(TdsError):
    """Zoho did not give what was asked for. Texts name the call, never a secret."""

    calls = 0
    """How many calls were made for it."""
    stops_all = False
    """Whether it is of all that is asked of the organisation, and not of one list or record alone, as far as
    it says itself: see `ZohoClient.stops_all`."""


class TooLargeError(ZohoError):
    """An answer is larger than anything Zoho sends, or compressed in a way that was not asked for."""


class AuthorizationError(ZohoError):
    """The token endpoint refuses us."""

    stops_all = True


class UnauthorizedError(ZohoError):
    """HTTP 401, codes 57 and 14."""


class RefusedError(ZohoError):
    """The call itself is wrong.

    Args:
        message: see `TdsError`.
        sent_at: when the call was made.
        hint: see `TdsError`.
        code: Zoho's.
    """

    def __init__(self, message: str, sent_at: datetime, hint: str = "", code: object = None) -> None:
        super().__init__(message, hint)
        self.sent_at = sent_at
        self.code = code

    def refused(self, parameters: Iterable[str]) -> str | None:
        """Which of these parameters is refused (code 2 names it), if that is what is wrong."""
        if self.code != INVALID_VALUE:
            return None
        named = (name for name in parameters if re.search(rf"\b{re.escape(name)}\b", self.message))
        return next(named, None)


class NotFoundError(RefusedError):
    """404 with code 1002 or 1001: the record does not exist, any more or at all."""


class OrganizationError(RefusedError):
    """There is no such organisation, or the refresh token's user does not belong to it."""

    stops_all = True


class LimitError(ZohoError):
    """A limit of the organisation is used up.

    Args:
        message: see `TdsError`.
        seconds: until the call may be made again, as far as is known.
    """

    stops_all = True

    def __init__(self, message: str, seconds: float, hint: str = "") -> None:
        super().__init__(message, hint)
        self.seconds = seconds


class UnreachableError(ZohoError):
    """Zoho, or the way to it, is out of order."""

    stops_all = True

    def alone(self) -> "UnreachableError":
        """The same, where Zoho answers all else: nothing is wrong with the way to it."""
        return UnreachableError(
            self.message,
            "Zoho answers all else, which is done. It is asked for again by itself, or by the same command. "
            "Next: tds runs",
        )


class MovingError(TdsError):
    """The organisation is on its way to another shard, or has left this one: nothing is asked for it here."""

    @classmethod
    def of(cls, error: psycopg.Error) -> "MovingError | None":
        """What the database said, if it is that."""
        if error.sqlstate not in {"ZB080", "ZB081"}:
            return None
        said = f"{error.diag.message_primary}: {error.diag.message_detail}"
        return cls(f"{said[0].upper()}{said[1:]}.", f"Next: {error.diag.message_hint}")


class PagingError(ZohoError):
    """A list whose pages make no sense: following them further could go on for ever, or miss its end."""
