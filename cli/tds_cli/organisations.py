"""What commands do for each organisation that they serve."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from tds_cli.exits import FAILED
from tds_cli.output import print_json
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_poller.organisations import Served, served
from tds_poller.zoho.settings import ZohoSettings

by_org = click.option(
    "--org",
    "organisations",
    multiple=True,
    metavar="ID",
    help="Of this organisation; may be repeated. Otherwise of all that are active (tds org list).",
)


def for_each(
    organisations: Sequence[str], one: Callable[[ZohoSettings], tuple[int, Any]], *, as_json: bool
) -> None:
    """Does it for each organisation, and ends with the gravest exit code.

    Args:
        organisations: ids; none: all that are active.
        one: is given an organisation's settings; shows what it has to show unless it is to be JSON, and
            returns the exit code and what is to be printed as JSON (None: nothing is).
        as_json: print the result of the only one as it is, of several as `{"organisations": […]}`.

    Raises:
        TdsError: there is but one, and it cannot be done.
    """
    for_each_served(served(conninfo(), organisations), lambda each: one(each.needed()), as_json=as_json)


def for_each_served(
    chosen: Sequence[Served], one: Callable[[Served], tuple[int, Any]], *, as_json: bool
) -> None:
    """The same for whoever needs more than settings; see `for_each`."""
    if len(chosen) == 1:
        code, result = one(chosen[0])
        if as_json and result is not None:
            print_json(result)
    else:
        done = [_done(each, one, as_json=as_json) for each in chosen]
        codes = {code for code, _ in done}
        code = FAILED if FAILED in codes else max(codes, default=0)
        if as_json:
            print_json({"organisations": [result for _, result in done]})
    if code:
        sys.exit(code)


def _done(
    each: Served, one: Callable[[Served], tuple[int, Any]], *, as_json: bool
) -> tuple[int, dict[str, Any]]:
    if not as_json:
        echo(f"\nOrganisation {each.organization_id}")
    try:
        code, result = one(each)
    except TdsError as error:
        echo(f"Organisation {each.organization_id}: {error}", err=True)
        return FAILED, {"organization_id": each.organization_id, "error": error.message, "next": error.hint}
    told = result if isinstance(result, dict) else {"result": result}
    return code, {"organization_id": each.organization_id, **told}
