"""Lists as the API gives them: filters, order, pages of up to 200, ``page_context`` without a total."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tds_sandbox.books import Book, Predicate
from tds_sandbox.clock import parse_time
from tds_sandbox.documented import refuse_undocumented
from tds_sandbox.errors import InvalidValueError
from tds_sandbox.jsontext import Document, encode
from tds_sandbox.organisation import Organisation

PER_PAGE = 200


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise InvalidValueError(name)
    return int(text)


def _select(organisation: Organisation, book: Book, query: Mapping[str, str]) -> tuple[list[Any], Document]:
    """The records that fit, in order, and what ``page_context`` says about it."""
    entity = book.entity
    asked = "" if entity.ignores_filters else query.get("filter_by")
    applied = asked or entity.default_filter
    if applied not in entity.filters:
        raise InvalidValueError("filter_by")
    column = query.get("sort_column") or entity.default_sort[0]
    if column not in entity.sort_keys:
        raise InvalidValueError("sort_column")
    order = (query.get("sort_order") or entity.default_sort[1]).upper()
    if order not in {"A", "D"}:
        raise InvalidValueError("sort_order")
    predicates: list[Predicate[Any]] = []
    criteria = []
    for name, value in query.items():
        if name == "last_modified_time":
            # Where the real API has no such filter it answers with unfiltered rows, without a word.
            if entity.honours_modified_filter and value:
                predicates.append(_modified(organisation, value))
        elif (
            not entity.ignores_filters
            and value
            and (predicate := entity.parameter(organisation, name, value))
        ):
            predicates.append(predicate)
            criteria.append(
                {
                    "column_name": name,
                    "search_text": value,
                    "search_text_formatted": value,
                    "comparator": "equal",
                }
            )
    key = (applied, column, order, tuple(sorted((c["column_name"], c["search_text"]) for c in criteria)))
    version, records = book.selections.get(key, (-1, []))
    stamped = query.get("last_modified_time") if entity.honours_modified_filter else None
    if version != book.version or stamped:
        passes = entity.filters[applied]
        records = [r for r in book.records if passes(r) and all(p(r) for p in predicates)]
        records.sort(key=entity.sort_keys[column], reverse=order == "D")
        if not stamped:
            if len(book.selections) > 50:
                book.selections.clear()
            book.selections[key] = (book.version, records)
    context: Document = {
        "report_name": entity.report_name,
        "applied_filter": applied,
        "custom_fields": [],
        **entity.context_extra,
        "sort_column": column,
        "sort_order": order,
    }
    if criteria:
        context["search_criteria"] = criteria
    return records, context


def _modified(organisation: Organisation, value: str) -> Predicate[Any]:
    since = organisation.calendar.epoch(parse_time("last_modified_time", value))
    if organisation.modified_filter_inclusive:
        return lambda record: record.modified >= since
    return lambda record: record.modified > since


def list_records(organisation: Organisation, entity: str, query: Mapping[str, str]) -> str:
    """The answer to ``GET /{entity}``.

    Raises:
        InvalidValueError: a parameter that the real API checks has a bad value.
    """
    page = _number(query, "page", 1)
    per_page = min(_number(query, "per_page", PER_PAGE), PER_PAGE)
    option = query.get("response_option") or "0"
    if option not in {"0", "2"}:
        # 1, 3 and 4 add sums in a shape that no source shows.
        raise InvalidValueError("response_option")
    if not organisation.lenient:
        refuse_undocumented(entity, query)
    with organisation.lock:
        book = organisation.book(entity)
        records, context = _select(organisation, book, query)
        start = (page - 1) * per_page
        context = {
            "page": page,
            "per_page": per_page,
            "has_more_page": start + per_page < len(records),
        } | context
        # Only the list of invoices is documented to count; others may answer as if not asked to.
        if option == "2" and (organisation.counts_every_list or entity == "invoices"):
            context |= {"response_option": 2, "total": len(records)}
            return encode({"code": 0, "message": "success", "page_context": context})
        rows = ",".join([organisation.row_json(entity, r) for r in records[start : start + per_page]])
        list_key = book.entity.list_key or entity
    return f'{{"code":0,"message":"success","{list_key}":[{rows}],"page_context":{encode(context)}}}'
