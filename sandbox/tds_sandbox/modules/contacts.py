"""Contacts: customers and vendors, one module in Zoho, told apart by ``contact_type``."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tds_sandbox import vocabulary as words
from tds_sandbox.books import ABSENT, Books, EditKind, Entity, Fault, Predicate, Record
from tds_sandbox.errors import InvalidValueError
from tds_sandbox.jsontext import Document
from tds_sandbox.modules.shapes import (
    currency_shown,
    custom_field,
    custom_field_hash,
    flatten_custom_fields,
    shapes,
)
from tds_sandbox.money import ZERO, Address, Currency, Terms, round_base
from tds_sandbox.profile import CUSTOMERS, VENDORS, scaled, scaled_shares

# Ids of what Zoho creates together with a contact, counted from the contact's own.
_BILLING, _SHIPPING, _ENTITY_ADDRESS, _PERSON_ID, _EXTRA = 1, 2, 3, 4, 5
_STRIDE = 10
_ROW, _DETAIL, _PERSON, _ADDRESS = shapes("contacts", "row", "detail", "person", "address")


@dataclass(slots=True, kw_only=True)
class Contact(Record):
    """A customer or a vendor. What is owed and what may still be credited are in its own currency."""

    vendor: bool
    name: str
    company: str
    first_name: str
    last_name: str
    email: str
    phone: str
    mobile: str
    active: bool
    individual: bool
    currency: Currency
    terms: Terms
    billing: Address
    shipping: Address
    extra_addresses: tuple[Address, ...]
    notes: str
    risk: str
    area: str
    source: str
    receivable: Decimal = ZERO
    credits: Decimal = ZERO
    payable: Decimal = ZERO
    payable_credits: Decimal = ZERO


def _phone(rng: random.Random, shape: str) -> str:
    """A number of the given shape that nobody has: Iraq assigns no 070 mobile prefix."""
    digits = shape.count("9")
    local = "070" if digits == 11 else "70"
    lead = "96470" if shape.startswith("+") else local
    fill = iter(lead + "".join(rng.choices("0123456789", k=digits)))
    return "".join(next(fill) if sign == "9" else sign for sign in shape)


def _arabic_name(rng: random.Random) -> tuple[str, str, str]:
    """Display name, first name, last name; a shop has no person's name."""
    if rng.random() < 0.35:
        shop = f"{rng.choice(words.ARABIC_SHOPS)} {rng.choice(words.ARABIC_SHOP_NAMES)}"
        name = f"{shop} {rng.choice(words.ARABIC_SHOP_TRADES)}"
        if rng.random() < 0.5:
            name += f" - {rng.choice(words.CITIES)}"
        return name, "", ""
    first, middle, last = (
        rng.choice(words.ARABIC_FIRST),
        rng.choice(words.ARABIC_MIDDLE),
        rng.choice(words.ARABIC_LAST),
    )
    return f"{first} {middle} {last}", first, last


def _latin_name(rng: random.Random) -> tuple[str, str, str]:
    first, last = rng.choice(words.LATIN_FIRST), rng.choice(words.LATIN_LAST)
    return f"{first} {last}", first, last


def _vendor_name(rng: random.Random) -> str:
    first, second, third = words.VENDOR_FIRST, words.VENDOR_SECOND, words.VENDOR_THIRD
    return f"{rng.choice(first)} {rng.choice(second)} {rng.choice(third)}"


def _unique(
    rng: random.Random, taken: set[str], make: Callable[[], tuple[str, str, str]]
) -> tuple[str, str, str]:
    name, first, last = make()
    while name in taken:
        # Traders tell namesakes apart by a number; the free numbers grow with the books.
        name, first, last = make()
        name = f"{name} {rng.randrange(2, 10 + len(taken))}"
    taken.add(name)
    return name, first, last


def _spread(
    rng: random.Random,
    count: int,
    *,
    rows: int,
    unique: int,
    shares: tuple[int, ...],
    make: Callable[[int], str],
) -> list[str]:
    """Values for ``count`` records: most blank, some of their own, some shared by a few."""
    values: list[str] = []
    for share in scaled_shares(shares, rows, count):
        values += [make(len(values))] * share
    values += [make(len(values) + n) for n in range(scaled(unique, rows, count))]
    values = values[:count]
    values += [""] * (count - len(values))
    rng.shuffle(values)
    return values


def _edit_name(_: Books, contact: Contact, rng: random.Random) -> None:
    contact.name = f"{contact.name[:80].rsplit(' #', 1)[0]} #{rng.randrange(10, 100_000)}"


def _edit_phone(_: Books, contact: Contact, rng: random.Random) -> None:
    contact.phone = _phone(rng, rng.choice(CUSTOMERS.phone_shapes)[0])


def _edit_email(_: Books, contact: Contact, rng: random.Random) -> None:
    contact.email = f"contact{rng.randrange(10**6)}@example.org"


def _edit_address(_: Books, contact: Contact, rng: random.Random) -> None:
    contact.billing = contact.billing._replace(
        address=f"{rng.choice(words.STREETS)} {rng.randrange(1, 1000)}", city=rng.choice(words.CITIES)
    )


def _edit_status(_: Books, contact: Contact, __: random.Random) -> None:
    contact.active = not contact.active


def _edit_terms(books: Books, contact: Contact, rng: random.Random) -> None:
    contact.terms = rng.choice([terms for terms in books.terms.values() if terms != contact.terms])


def _edit_notes(_: Books, contact: Contact, rng: random.Random) -> None:
    contact.notes = f"اتصل به {rng.randrange(1, 10**6)}"


def _edit_custom_field(_: Books, contact: Contact, rng: random.Random) -> None:
    contact.risk = rng.choice([risk for risk in ("Low", "Medium", "High") if risk != contact.risk])


def _address(address: Address) -> Document:
    return _ADDRESS.fill(address._asdict() | {"address_id": address.id})


class Contacts(Entity[Contact]):
    """``/contacts``."""

    name = "contacts"
    record_key = "contact"
    id_key = "contact_id"
    noun = "Contact"
    report_name = "Contacts"
    scope = "contacts.READ"
    default_filter = "Status.Active"  # 512 of 6,000 were missing in a live list without filter_by
    default_sort = ("contact_name", "A")
    honours_modified_filter = False
    silent_keys = frozenset(
        {
            "outstanding_receivable_amount",
            "outstanding_receivable_amount_bcy",
            "outstanding_payable_amount",
            "outstanding_payable_amount_bcy",
            "unused_credits_payable_amount",
            "unused_credits_payable_amount_bcy",
            "unused_credits_receivable_amount",
            "unused_credits_receivable_amount_bcy",
            "has_transaction",
            "customer_currency_summaries",
        }
    )

    def __init__(self) -> None:
        self.filters: dict[str, Predicate[Contact]] = {
            "Status.All": lambda _: True,
            "Status.Active": lambda contact: contact.active,
            "Status.Inactive": lambda contact: not contact.active,
        }
        self.sort_keys: dict[str, Callable[[Contact], Any]] = {
            "contact_name": lambda contact: (contact.name.casefold(), contact.id),
            "first_name": lambda contact: (contact.first_name, contact.id),
            "last_name": lambda contact: (contact.last_name, contact.id),
            "email": lambda contact: (contact.email, contact.id),
            "outstanding_receivable_amount": lambda contact: (contact.receivable, contact.id),
            "created_time": lambda contact: (contact.created, contact.id),
            "last_modified_time": lambda contact: (contact.modified, contact.id),
        }
        self.edits: dict[str, EditKind[Contact]] = {
            "name": EditKind(_edit_name),
            "phone": EditKind(_edit_phone),
            "email": EditKind(_edit_email, lambda contact: not contact.vendor),
            "address": EditKind(_edit_address),
            "status": EditKind(_edit_status),
            "payment_terms": EditKind(_edit_terms),
            "notes": EditKind(_edit_notes),
            "custom_field": EditKind(_edit_custom_field),
        }
        self.faults = (
            Fault("missing id", "contact_id", ABSENT, "no id", frozenset({"list"})),
            Fault("currency too long", "currency_code", "ن" * 5000, "5,000 characters; a code has 3"),
            Fault("bad time", "created_time", "2026-02-30T10:00:00-0400", "there is no 30 February"),
            Fault("empty id", "contact_id", "", "the id is empty", frozenset({"list"})),
        )

    def generate(self, books: Books, count: int, rng: random.Random) -> list[Contact]:
        """Customers and vendors in the profile's shares; vendors are strewn among the customers."""
        rows = CUSTOMERS.rows + VENDORS.rows
        vendors = round(count * VENDORS.rows / rows) or (1 if count >= 2 else 0)
        customers = count - vendors
        times = books.creation_times(rng, count)
        vendor_places = set(rng.sample(range(count), vendors))
        customer_values = self._customer_values(books, customers, rng)
        vendor_values = self._vendor_values(books, vendors, rng)
        if vendors and customers:
            # One name is both a customer's and a vendor's.
            vendor_values[-1]["name"] = customer_values[0]["name"]
        contacts: list[Contact] = []
        for place, created in enumerate(times):
            values = vendor_values.pop() if place in vendor_places else customer_values.pop()
            contact_id = books.new_id("contacts", _STRIDE + rng.randrange(0, 40))
            contacts.append(self._make(books, contact_id, created, values, rng))
            contacts[-1].modified = books.modified_after(rng, created)
        return contacts

    def _customer_values(self, books: Books, count: int, rng: random.Random) -> list[dict[str, Any]]:
        profile, rows = CUSTOMERS, CUSTOMERS.rows
        shapes = [shape for shape, _ in profile.phone_shapes]
        weights = [weight for _, weight in profile.phone_shapes]

        # Every shape occurs, the rarest too, before chance decides.
        rare = [*shapes]

        def phone(_: int) -> str:
            return _phone(rng, rare.pop(0) if rare else rng.choices(shapes, weights)[0])

        emails = _spread(
            rng,
            count,
            rows=rows,
            unique=profile.email_unique,
            shares=profile.email_shares,
            make=lambda n: f"customer{n}@example.com",
        )
        phones = _spread(
            rng, count, rows=rows, unique=profile.phone_unique, shares=profile.phone_shares, make=phone
        )
        mobiles = _spread(
            rng, count, rows=rows, unique=profile.mobile_unique, shares=profile.mobile_shares, make=phone
        )
        dinar = set(rng.sample(range(count), scaled(profile.iqd, rows, count)))
        inactive = set(rng.sample(range(count), scaled(profile.inactive, rows, count)))
        latin = set(rng.sample(range(count), scaled(rows - profile.arabic_names, rows, count)))
        labels: list[str] = []
        for label, _, number in profile.payment_terms:
            labels += [label] * scaled(number, rows, count)
        labels = labels[:count] + [profile.payment_terms[0][0]] * (count - len(labels))
        rng.shuffle(labels)
        taken: set[str] = set()
        values = []
        for n in range(count):
            make = _latin_name if n in latin else _arabic_name
            name, first, last = _unique(rng, taken, lambda make=make: make(rng))  # type: ignore[misc]
            values.append(
                {
                    "vendor": False,
                    "name": name[: profile.name_max_length],
                    "first_name": first if emails[n] or phones[n] else "",
                    "last_name": last if emails[n] or phones[n] else "",
                    "email": emails[n],
                    "phone": phones[n],
                    "mobile": mobiles[n],
                    "currency": books.currencies["IQD" if n in dinar else "USD"],
                    "terms": books.terms[labels[n]],
                    "active": n not in inactive,
                }
            )
        position = 1
        for share in scaled_shares(profile.name_shares, rows, count):
            for twin in values[position + 1 : position + share]:
                twin["name"] = values[position]["name"]
            position += share
        return values

    def _vendor_values(self, books: Books, count: int, rng: random.Random) -> list[dict[str, Any]]:
        profile, rows = VENDORS, VENDORS.rows
        codes: list[str] = []
        for code, number in profile.currencies:
            codes += [code] * scaled(number, rows, count)
        codes = codes[:count] + ["USD"] * (count - len(codes))
        rng.shuffle(codes)
        labels: list[str] = []
        for label, _, number in profile.payment_terms:
            labels += [label] * scaled(number, rows, count)
        labels = labels[:count] + ["Due on Receipt"] * (count - len(labels))
        rng.shuffle(labels)
        phones = scaled(profile.phone_filled, rows, count)
        inactive = scaled(profile.inactive, rows, count) if count > 10 else 0
        taken: set[str] = set()
        return [
            {
                "vendor": True,
                "name": _unique(rng, taken, lambda: (_vendor_name(rng), "", ""))[0],
                "first_name": "",
                "last_name": "",
                "email": "",
                "phone": _phone(rng, "+9999999999999") if n < phones else "",
                "mobile": "",
                "currency": books.currencies[codes[n]],
                "terms": books.terms[labels[n]],
                "active": n >= inactive,
            }
            for n in range(count)
        ]

    @staticmethod
    def _make(
        books: Books, contact_id: str, created: int, values: dict[str, Any], rng: random.Random
    ) -> Contact:
        vendor, sibling = values["vendor"], books.sibling
        country, code = ("China", "CN") if vendor else ("Iraq", "IQ")
        located = rng.random() < 0.6 and not vendor
        billing = Address(
            id=sibling(contact_id, _BILLING),
            attention=values["name"] if located and rng.random() < 0.3 else "",
            address=rng.choice(words.STREETS) if located else "",
            city=rng.choice(words.CITIES) if located else "",
            country=country,
            country_code=code,
            phone=values["phone"] if located else "",
        )
        shipping_id = sibling(contact_id, _SHIPPING)
        shipping = (
            billing._replace(id=shipping_id) if located and rng.random() < 0.4 else Address(shipping_id)
        )
        extra: tuple[Address, ...] = ()
        if located and rng.random() < 0.08:
            extra = tuple(
                Address(
                    id=sibling(contact_id, _EXTRA + n),
                    address=f"{rng.choice(words.STREETS)} {rng.randrange(1, 99)}",
                    city=rng.choice(words.CITIES),
                    country=country,
                    country_code=code,
                )
                for n in range(rng.randrange(1, 3))
            )
        return Contact(
            id=contact_id,
            created=created,
            modified=created,
            company=values["name"] if rng.random() < 0.5 else "",
            individual=not vendor and rng.random() < 0.3,
            billing=billing,
            shipping=shipping,
            extra_addresses=extra,
            notes=rng.choice(words.NOTES),
            risk=rng.choice(("", "", "", "Low", "Medium", "High")),
            area=rng.choice(("", "", *words.CITIES[:4])),
            source=rng.choice(("user", "csv", "api")),
            **values,
        )

    def create(self, books: Books, rng: random.Random) -> Contact:
        """A new customer, or one time in thirty a vendor."""
        vendor = rng.random() < 1 / 30
        name, first, last = (_vendor_name(rng), "", "") if vendor else _arabic_name(rng)
        values = {
            "vendor": vendor,
            "name": name,
            "first_name": first,
            "last_name": last,
            "email": "" if vendor or rng.random() < 0.5 else f"new{rng.randrange(10**6)}@example.com",
            "phone": _phone(rng, "+9999999999999"),
            "mobile": "",
            "currency": books.currencies["RMB" if vendor else "USD"],
            "terms": books.terms["Due on Receipt" if vendor else "Net 7"],
            "active": True,
        }
        contact_id = books.new_id("contacts", _STRIDE + rng.randrange(0, 40))
        return self._make(books, contact_id, books.now(), values, rng)

    def _custom_fields(self, books: Books, contact: Contact) -> list[Document]:
        fields = []
        ids = books.field_ids
        if contact.risk:
            fields.append(
                custom_field(
                    ids["cf_risk_score"],
                    "cf_risk_score",
                    "Credit Risk",
                    index=1,
                    data_type="dropdown",
                    value=contact.risk,
                )
            )
        if contact.area:
            fields.append(
                custom_field(
                    ids["cf_sales_area"],
                    "cf_sales_area",
                    "Area",
                    index=2,
                    data_type="string",
                    value=contact.area,
                )
            )
        return fields

    def _shown(self, books: Books, contact: Contact) -> Document:
        """What the list and the single contact show alike."""
        stamp, rate = books.calendar.stamp, contact.currency.rate
        fields = self._custom_fields(books, contact)
        amounts = {
            "outstanding_receivable_amount": contact.receivable,
            "outstanding_payable_amount": contact.payable,
            "unused_credits_receivable_amount": contact.credits,
            "unused_credits_payable_amount": contact.payable_credits,
        }
        return (
            currency_shown(contact.currency)
            | amounts
            | {f"{key}_bcy": round_base(amount * rate) for key, amount in amounts.items()}
            | {
                "contact_id": contact.id,
                "contact_name": contact.name,
                "company_name": contact.company,
                "contact_type": "vendor" if contact.vendor else "customer",
                "status": "active" if contact.active else "inactive",
                "customer_sub_type": "individual" if contact.individual else "business",
                "source": contact.source,
                "payment_terms": contact.terms.days,
                "payment_terms_id": contact.terms.id,
                "payment_terms_label": contact.terms.label,
                "first_name": contact.first_name,
                "last_name": contact.last_name,
                "email": contact.email,
                "phone": contact.phone,
                "mobile": contact.mobile,
                "created_time": stamp(contact.created),
                "last_modified_time": stamp(contact.modified),
                "custom_fields": fields,
                "custom_field_hash": custom_field_hash(fields),
            }
        )

    def list_row(self, books: Books, contact: Contact) -> Document:
        """The keys of the recorded list, and ``cf_*``."""
        day = books.calendar.day
        row = _ROW.fill(
            self._shown(books, contact)
            | {
                "customer_name": contact.name,
                "vendor_name": contact.name,
                "contact_type_formatted": "Vendor" if contact.vendor else "Customer",
                "created_time_formatted": day(contact.created).strftime("%d %b %Y"),
                "last_modified_time_formatted": day(contact.modified).strftime("%d %b %Y"),
            }
        )
        return row | flatten_custom_fields(row["custom_fields"])

    def detail(self, books: Books, contact: Contact) -> Document:
        """The keys of the recorded single contact."""
        user_id, user_name = books.user
        own = self._shown(books, contact)
        currency, persons = contact.currency, []
        if contact.first_name or contact.email:
            persons = [_PERSON.fill(own | {"contact_person_id": books.sibling(contact.id, _PERSON_ID)})]
        return _DETAIL.fill(
            own
            | {
                "is_bcy_only_contact": currency.is_base,
                "has_transaction": books.uses[contact.id] > 0,
                "primary_contact_id": persons[0]["contact_person_id"] if persons else "",
                "can_show_customer_ob": not contact.vendor,
                "can_show_vendor_ob": contact.vendor,
                "entity_address_id": books.sibling(contact.id, _ENTITY_ADDRESS),
                "billing_address": _address(contact.billing),
                "shipping_address": _address(contact.shipping),
                "contact_persons": persons,
                "addresses": [_address(address) for address in contact.extra_addresses],
                "notes": contact.notes,
                "created_date": books.calendar.day(contact.created).strftime("%d %b %Y"),
                "created_by_name": user_name,
                "created_by_id": user_id,
                "last_modified_by_id": user_id,
                "customer_currency_summaries": [
                    {
                        "currency_id": currency.id,
                        "currency_code": currency.code,
                        "currency_symbol": currency.symbol,
                        "price_precision": currency.precision,
                        "is_base_currency": currency.is_base,
                        "currency_name_formatted": own["currency_name_formatted"],
                        "outstanding_receivable_amount": contact.receivable,
                        "unused_credits_receivable_amount": contact.credits,
                    }
                ],
            }
        )

    def webhook_extra(self, books: Books, contact: Contact) -> Document:
        """The flattened custom fields."""
        return flatten_custom_fields(self._custom_fields(books, contact))

    def webhook_entity(self, contact: Contact) -> str:
        """``…/webhooks/customers`` or ``…/webhooks/vendors``: two rules with a condition on the type."""
        return "vendors" if contact.vendor else "customers"

    def refuses_deletion(self, books: Books, contact: Contact) -> bool:
        """Contacts with transactions cannot be deleted."""
        return books.uses[contact.id] > 0

    def retire(self, _: Books, contact: Contact) -> str:
        """Becomes inactive."""
        contact.active = False
        return "status"

    def parameter(self, _: Books, name: str, value: str) -> Predicate[Contact] | None:
        """``contact_type``."""
        if name != "contact_type":
            return None
        if value not in {"customer", "vendor"}:
            raise InvalidValueError(name)
        vendor = value == "vendor"
        return lambda contact: contact.vendor is vendor
