"""What commands do for each organisation that they serve."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from tds_cli.events import Events
from tds_cli.exits import FAILED
from tds_cli.output import print_json
from tds_cli.progress import Steps, Titled
from tds_cli.terminal import echo
from tds_db.connect import conninfo
from tds_db.errors import TdsError
from tds_poller.organisations import Served, to_be_asked
from tds_poller.zoho.settings import ZohoSettings

AT_ONCE = 10  # organisations served beside one another: each takes a few connections
Result = TypeVar("Result")

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
    for_each_served(to_be_asked(conninfo(), organisations), lambda each: one(each.needed()), as_json=as_json)


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
    told = f"Organisation {each.organization_id}"
    if as_json:
        Events().tell("organisation", told, organization_id=each.organization_id)
    else:
        echo(f"\n{told}")
    try:
        code, result = one(each)
    except TdsError as error:
        echo(f"Organisation {each.organization_id}: {error}", err=True)
        return FAILED, {"organization_id": each.organization_id, "error": error.message, "next": error.hint}
    found = result if isinstance(result, dict) else {"result": result}
    return code, {"organization_id": each.organization_id, **found}


async def beside_one_another(
    chosen: Sequence[Served], steps: Steps, one: Callable[[Served, Steps | Titled], Awaitable[Result]]
) -> tuple[list[Result], list[tuple[str, TdsError]]]:
    """Does it for organisations at once, each at its own pace; one that stops does not stop the others.

    Args:
        chosen: which.
        steps: where they are shown: those of several have their organisation's id before their titles.
        one: is given an organisation, and where to show its steps.

    Returns:
        What came of those that could be done, in their order, and why each of the others could not.

    Raises:
        TdsError: there is but one, and it cannot be done.
    """
    places = asyncio.Semaphore(AT_ONCE)
    is_alone = len(chosen) == 1

    async def placed(each: Served) -> Result:
        async with places:
            return await one(each, steps if is_alone else Titled(steps, f"{each.organization_id} "))

    done = await asyncio.gather(*map(placed, chosen), return_exceptions=True)
    results: list[Result] = []
    failed = []
    for each, result in zip(chosen, done, strict=True):
        if not isinstance(result, BaseException):
            results.append(result)
        elif is_alone or not isinstance(result, TdsError):
            raise result
        else:
            failed.append((each.organization_id, result))
    return results, failed


def tell_failed(failed: Sequence[tuple[str, TdsError]]) -> None:
    """Says which organisations could not be done, and why."""
    for organization_id, error in failed:
        echo(f"Organisation {organization_id}: {error}", err=True)
