"""``/reports/activitylogs`` and ``/settings/webhooks/histories``: what was done, what did not arrive.

The log is told from the organisation's own changes, whoever mirrors them. It has the traps of the real one:
days without a time, the newest first so that rows shift while pages are read, rows that name no record, and
who did it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

from tds_sandbox.clock import parse_date
from tds_sandbox.errors import InvalidValueError
from tds_sandbox.jsontext import Document, encode
from tds_sandbox.organisation import Change, Organisation
from tds_sandbox.webhooks import Delivery

_WORDS = {"create": "created", "edit": "updated", "delete": "deleted"}
_TYPES = {"customerpayments": "customer_payment", "vendorpayments": "bill_payment"}
_NOISE = 7  # after so many rows comes one of a bank's feed


def _page(query: Mapping[str, str], rows: Sequence[Document], key: str, context: Document) -> str:
    def number(name: str, default: int) -> int:
        text = query.get(name) or str(default)
        if not (text.isascii() and text.isdigit()) or int(text) < 1:
            raise InvalidValueError(name)
        return int(text)

    page, per_page = number("page", 1), min(number("per_page", 200), 200)
    start = (page - 1) * per_page
    told: Document = {"page": page, "per_page": per_page, "has_more_page": start + per_page < len(rows)}
    return encode(
        {
            "code": 0,
            "message": "success",
            key: list(rows[start : start + per_page]),
            "page_context": told | context,
        }
    )


def _days(organisation: Organisation, query: Mapping[str, str]) -> tuple[date, date]:
    """From and to; today where they are not told."""
    today = organisation.calendar.day(organisation.now())
    first, last = query.get("from_date"), query.get("to_date")
    return (
        date.fromisoformat(parse_date("from_date", first)) if first else today,
        date.fromisoformat(parse_date("to_date", last)) if last else today,
    )


def activity_logs(organisation: Organisation, query: Mapping[str, str]) -> str:
    """The answer to ``GET /reports/activitylogs``.

    Raises:
        InvalidValueError: a parameter has a bad value.
    """
    with organisation.lock:
        if organisation.activity_key is None:
            return encode({"code": 0, "message": "success", "report": {"rows": 0}})
        first, last = _days(organisation, query)
        changes = [
            change
            for change in organisation.changes
            if not change.silent and first <= organisation.calendar.day(change.at) <= last
        ]
        rows = [row for change in reversed(changes) for row in _rows(organisation, change)]
    context: Document = {
        "report_name": "Activity Logs",
        "from_date": first.isoformat(),
        "to_date": last.isoformat(),
    }
    return _page(query, rows, organisation.activity_key, context)


def _rows(organisation: Organisation, change: Change) -> Iterator[Document]:
    number = int(f"{organisation.organization_id[:4]}{change.number:012d}")
    user_id, user = organisation.user
    common: Document = {
        "date": organisation.calendar.day(change.at).isoformat(),
        "notes": "",
        "user_id": user_id,
        "user_name": user,
        "is_from_client_portal": False,
    }
    if change.number % _NOISE == 0:
        yield common | {
            "activity_id": f"{number}9",
            "description": "Bank Feeds Updated",
            "user_id": "",
            "user_name": "",
            "ref_transaction_type": "online_bank_feeds",
            "activity_details": {
                "transaction_id": "",
                "transaction_type": "online_bank_feeds",
                "operation_type": "updated",
            },
        }
    noun = organisation.book(change.entity).entity.noun
    kind = _TYPES.get(change.entity, organisation.book(change.entity).entity.record_key)
    yield common | {
        "activity_id": f"{number}0",
        "description": f'{noun} "{change.id}" {_WORDS[change.event].title()}',
        "ref_transaction_type": kind,
        "activity_details": {
            "transaction_id": change.id,
            "transaction_name": noun,
            "transaction_type": kind,
            "operation_type": _WORDS[change.event],
            "can_show_version": change.event == "edit",
            "app_source": "books",
        },
    }


def webhook_histories(
    organisation: Organisation, deliveries: Sequence[Delivery], query: Mapping[str, str]
) -> str:
    """The answer to ``GET /settings/webhooks/histories``.

    Raises:
        InvalidValueError: a parameter has a bad value.
    """
    asked = query.get("filter_by") or "Status.All"
    if asked not in {"Status.All", "Status.Failed"}:
        raise InvalidValueError("filter_by")
    rows: list[Document] = [
        {
            "webhook_history_id": f"{organisation.organization_id[:4]}{delivery.number:013d}",
            "webhook_id": organisation.template_id,
            "entity": delivery.entity,
            "entity_id": delivery.id,
            "status": delivery.state,
            "retry_count": max(0, len(delivery.attempts) - 1),
            "last_execution_time": datetime.fromtimestamp(
                delivery.attempts[-1].at if delivery.attempts else delivery.edited_at, UTC
            ).strftime("%Y-%m-%dT%H:%M:%S+0000"),
            "next_retry_time": "",
        }
        for delivery in reversed(deliveries)
        if asked == "Status.All" or delivery.state == "failed"
    ]
    return _page(query, rows, "webhook_histories", {"applied_filter": asked})
